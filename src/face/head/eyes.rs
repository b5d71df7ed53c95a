//! Eyes: spheres with a sclera rendered in the shade of the lids, and an iris that rotates with the gaze.

use super::camera::{Camera, HeadTurn, Mat3, Vec3, add, apply, dot, product, sub, transpose};
use super::rig::{CanvasBox, EyesEntry};
use super::texture::{Plate, SkinTexture};
use crate::face::Pose;

/// Horizontal rotation in radians at a gaze weight of 1.
const YAW_MAX: f32 = 0.42;
/// Vertical rotation in radians at a gaze weight of 1.
const PITCH_MAX: f32 = 0.28;
/// Outward rotation in radians with which the irises were rendered.
const RENDERED_YAW: f32 = 0.015;
/// Side of the grid that approximates the visible hemisphere.
const GRID: usize = 8;

/// Textures and geometry of both eyes.
#[derive(Debug)]
pub struct Eyes {
    entry: EyesEntry,
    sclera: SkinTexture,
    iris: Plate,
    glint: SkinTexture,
}

/// One eye in one frame.
#[derive(Clone, Copy, Debug)]
pub struct Eye {
    centre: Vec3,
    turned_centre: Vec3,
    /// Rotated head to resting head.
    back: Mat3,
    /// Direction in the resting head to direction in the iris image.
    to_iris: Mat3,
    /// Gaze direction in the resting head.
    axis: Vec3,
    brightness: f32,
}

impl Eyes {
    /// Combines the rig's entry and its three images.
    pub fn new(entry: EyesEntry, sclera: SkinTexture, iris: Plate, glint: SkinTexture) -> Self {
        Self { entry, sclera, iris, glint }
    }

    /// Triangles per eye.
    pub const TRIANGLES: usize = 2 * GRID * GRID;

    /// Both eyes for a pose: the subject's left, then right.
    pub fn look(&self, camera: &Camera, turn: HeadTurn, pose: &Pose) -> [Eye; 2] {
        let head = turn.matrix(camera, 1.0);
        std::array::from_fn(|side| {
            let gaze = Gaze::of(pose, side);
            let outward = if side == 0 { -RENDERED_YAW } else { RENDERED_YAW };
            let down = self.entry.blink_pitch * (2.0 * gaze.blink).min(1.0);
            let world = gaze_matrix(gaze.yaw + outward, gaze.pitch + down);
            let basis_back = transpose(&camera.basis);
            let local = product(&transpose(&world), &basis_back);
            let centre = self.entry.center[side];
            Eye {
                centre,
                turned_centre: camera.turn(&head, centre),
                back: transpose(&head),
                to_iris: product(&camera.basis, &product(&gaze_matrix(outward, 0.0), &local)),
                axis: apply(&transpose(&local), [0.0, -1.0, 0.0]),
                brightness: 1.0 - 0.6 * gaze.blink.powf(1.5),
            }
        })
    }

    /// The visible hemisphere as triangles in camera space.
    pub fn surface(&self, camera: &Camera, eye: &Eye) -> Vec<[Vec3; 3]> {
        let point = |column: usize, row: usize| {
            let place = |index: usize| (index as f32 / GRID as f32 * 2.0 - 1.0) * 0.98;
            let (x, z) = (place(column), place(row));
            let shrink = (0.98 / x.hypot(z).max(1e-6)).min(1.0);
            let (x, z) = (x * shrink, z * shrink);
            let ball = [x, -(1.0 - x * x - z * z).max(0.0).sqrt(), z];
            let radius = self.entry.radius;
            let out = apply(&transpose(&eye.back), apply(&camera.basis, ball)).map(|value| value * radius);
            add(eye.turned_centre, out)
        };
        let squares = (0..GRID * GRID).map(|square| (square % GRID, square / GRID));
        let halves = squares.flat_map(|(x, y)| {
            let corners = [point(x, y), point(x + 1, y), point(x, y + 1), point(x + 1, y + 1)];
            [[corners[0], corners[1], corners[2]], [corners[1], corners[3], corners[2]]]
        });
        halves.collect()
    }

    /// Colour (0 to 255) of an eye at a canvas pixel, by intersecting the ray with the sphere.
    pub fn colour(&self, camera: &Camera, eye: &Eye, at: [f32; 2]) -> [u8; 3] {
        let ray = camera.ray(at);
        let radius = self.entry.radius;
        let (along, square) = (dot(ray, eye.turned_centre), dot(ray, ray));
        let inside = dot(eye.turned_centre, eye.turned_centre) - radius * radius;
        let distance = (along - (along * along - square * inside).max(0.0).sqrt()) / square;
        let hit = sub(ray.map(|value| value * distance), eye.turned_centre);
        let normal = apply(&eye.back, hit).map(|value| value / radius);
        let [u, v] = self.place(camera, eye, normal);
        let under = self.sclera.colour(u, v).map(|value| value * eye.brightness);
        let colour = if self.is_on_iris(eye, normal) { self.with_iris(camera, eye, normal, under) } else { under };
        colour.map(|value| (value + 0.5) as u8)
    }

    fn is_on_iris(&self, eye: &Eye, normal: Vec3) -> bool {
        let sine = (1.1 * self.entry.iris_radius / self.entry.radius).min(0.99);
        dot(normal, eye.axis) >= (1.0 - sine * sine).sqrt()
    }

    fn with_iris(&self, camera: &Camera, eye: &Eye, normal: Vec3, under: [f32; 3]) -> [f32; 3] {
        let [u, v] = self.place(camera, eye, apply(&eye.to_iris, normal));
        let lanes = self.iris.tap(((u - 0.5) * 256.0) as i32, ((v - 0.5) * 256.0) as i32);
        let [r, g, b, alpha] = super::texture::plate_bytes(lanes).map(f32::from);
        let grey = (under[0] + under[1] + under[2]) / 765.0;
        let shade = (grey / self.entry.iris_ref.max(1e-3)).min(1.1);
        let glint = self.glint.colour(u, v);
        let iris = [r, g, b];
        std::array::from_fn(|i| under[i] * (1.0 - alpha / 255.0) + iris[i] * shade + glint[i])
    }

    /// Texture coordinates of a direction from the eye's centre (resting head).
    fn place(&self, camera: &Camera, eye: &Eye, normal: Vec3) -> [f32; 2] {
        let [x, y] = camera.project(add(eye.centre, normal.map(|value| value * self.entry.radius)));
        let bounds: CanvasBox = self.entry.bounds;
        [x - bounds[0] as f32, y - bounds[1] as f32]
    }
}

/// Gaze of one eye in radians, and its blink weight.
struct Gaze {
    yaw: f32,
    pitch: f32,
    blink: f32,
}

impl Gaze {
    fn of(pose: &Pose, side: usize) -> Self {
        let name = ["Left", "Right"][side];
        let weight = |shape: &str| pose.weight(&format!("{shape}{name}"));
        let outwards = weight("eyeLookOut") - weight("eyeLookIn");
        let right = if side == 0 { outwards } else { -outwards };
        let down = weight("eyeLookDown") - weight("eyeLookUp");
        Self { yaw: right * YAW_MAX, pitch: down * PITCH_MAX, blink: weight("eyeBlink") }
    }
}

/// Rotation in world space: `yaw` about the vertical axis, `pitch` about the axis through both eyes.
fn gaze_matrix(yaw: f32, pitch: f32) -> Mat3 {
    let ((sin, cos), (dip, level)) = (yaw.sin_cos(), pitch.sin_cos());
    product(
        &[[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]],
        &[[1.0, 0.0, 0.0], [0.0, level, -dip], [0.0, dip, level]],
    )
}
