//! Projection: rotation about the neck, then perspective.
//!
//! Camera space: x to the right, y down, z away from the viewer; one unit is about a decimetre.

/// A point or a direction.
pub type Vec3 = [f32; 3];
/// A 3 x 3 matrix, row-major.
pub type Mat3 = [Vec3; 3];

/// `a` minus `b`.
pub fn sub(a: Vec3, b: Vec3) -> Vec3 {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

/// `a` plus `b`.
pub fn add(a: Vec3, b: Vec3) -> Vec3 {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

/// Dot product.
pub fn dot(a: Vec3, b: Vec3) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// Matrix times vector.
pub fn apply(m: &Mat3, v: Vec3) -> Vec3 {
    [dot(m[0], v), dot(m[1], v), dot(m[2], v)]
}

/// Transpose.
pub fn transpose(m: &Mat3) -> Mat3 {
    std::array::from_fn(|i| std::array::from_fn(|j| m[j][i]))
}

/// Matrix product: `b` is applied first.
pub fn product(a: &Mat3, b: &Mat3) -> Mat3 {
    let columns = transpose(b);
    std::array::from_fn(|i| std::array::from_fn(|j| dot(a[i], columns[j])))
}

/// The camera with which the head was rendered.
#[derive(Clone, Copy, Debug)]
pub struct Camera {
    /// Focal length in canvas pixels.
    pub focal: f32,
    /// Half of the canvas's side in pixels: the principal point.
    pub half: f32,
    /// World (z up, the face looks towards -y) to camera space.
    pub basis: Mat3,
    /// Centre of the head's rotation.
    pub pivot: Vec3,
}

impl Camera {
    /// Projects a point to canvas pixels.
    pub fn project(&self, point: Vec3) -> [f32; 2] {
        let scale = self.focal / point[2];
        [self.half + point[0] * scale, self.half + point[1] * scale]
    }

    /// Ray direction (z = 1) through a canvas pixel.
    pub fn ray(&self, at: [f32; 2]) -> Vec3 {
        [(at[0] - self.half) / self.focal, (at[1] - self.half) / self.focal, 1.0]
    }

    /// Rotates `point` about the pivot.
    pub fn turn(&self, matrix: &Mat3, point: Vec3) -> Vec3 {
        add(apply(matrix, sub(point, self.pivot)), self.pivot)
    }
}

/// Head rotation in radians.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HeadTurn {
    /// Positive turns the nose to the right of the image.
    pub yaw: f32,
    /// Positive is down.
    pub pitch: f32,
    /// Positive is clockwise.
    pub roll: f32,
}

impl HeadTurn {
    /// Rotation in camera space for a point that takes `share` (0 to 1) of the head's rotation.
    pub fn matrix(&self, camera: &Camera, share: f32) -> Mat3 {
        let (sin_yaw, cos_yaw) = (self.yaw * share).sin_cos();
        let (sin_pitch, cos_pitch) = (self.pitch * share).sin_cos();
        let (sin_roll, cos_roll) = (self.roll * share).sin_cos();
        let world = [
            [cos_yaw, -sin_yaw * cos_pitch, sin_yaw * sin_pitch],
            [sin_yaw, cos_yaw * cos_pitch, -cos_yaw * sin_pitch],
            [0.0, sin_pitch, cos_pitch],
        ];
        let seen = product(&camera.basis, &product(&world, &transpose(&camera.basis)));
        product(&[[cos_roll, -sin_roll, 0.0], [sin_roll, cos_roll, 0.0], [0.0, 0.0, 1.0]], &seen)
    }
}
