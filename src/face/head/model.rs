//! A loaded head: files read and validated once, shared by all sessions.

use std::sync::Arc;

use super::HeadError;
use super::arrays::Arrays;
use super::backdrop::Backdrop;
use super::camera::Camera;
use super::eyes::Eyes;
use super::hair::Hair;
use super::key_weights::KeyAtlas;
use super::part::Part;
use super::rig::{PlateEntry, Rig};
use super::texture::{Files, Plate, SkinTexture, read_image};
use super::visibility::INTERIOR_BIT;
use crate::face::raster::TextureError;

/// A head. Immutable.
#[derive(Debug)]
pub struct HeadModel {
    pub(super) rig: Rig,
    pub(super) camera: Camera,
    pub(super) skin: Part,
    /// Fraction of the head's rotation that each skin vertex takes, 0 to 1.
    pub(super) turn_shares: Vec<f32>,
    pub(super) atlas: KeyAtlas,
    /// Images of the keys, then of the teeth, then of the tongue.
    pub(super) textures: Vec<SkinTexture>,
    pub(super) interior: Vec<MouthPart>,
    pub(super) lash: Lash,
    pub(super) eyes: Eyes,
    pub(super) hair_back: Option<Hair>,
    pub(super) hair_front: Option<Hair>,
    plates: [Option<Plate>; 2],
    backdrop: Arc<Backdrop>,
}

/// A part of the interior of the mouth.
#[derive(Debug)]
pub(super) struct MouthPart {
    pub part: Part,
    pub look: MouthMaterial,
    /// ID of its first triangle, among all that are not skin.
    pub first: usize,
    pub is_lower_teeth: bool,
}

/// Shading of a part of the mouth.
#[derive(Debug)]
pub(super) enum MouthMaterial {
    /// Textured; coordinates in 1/256 texel.
    Textured { texture: usize, uv: Vec<[f32; 2]> },
    /// The cavity behind the teeth, in one colour.
    Cavity,
}

/// Upper lashes, blended over the face.
#[derive(Debug)]
pub(super) struct Lash {
    pub part: Part,
    pub plate: Plate,
    /// Texture coordinates in texels from the first texel's centre.
    pub uv: Vec<[f32; 2]>,
}

impl HeadModel {
    /// Loads a head from the files of its avatar, for frames of `side_px` (other resolutions work, and scale their
    /// backdrop when they start). Needs `rig.json`, `mesh.bin` and the images that the rig names.
    ///
    /// The order is that of the checks: `rig.json` limits every count, then each array of `mesh.bin` is checked
    /// against it, then the images. Skin comes before the key atlas, because the atlas weights its vertices; the mouth comes before the eyes, because
    /// triangle IDs in the visibility buffer continue from one to the other.
    ///
    /// # Errors
    /// If a file is missing, cannot be decoded, or exceeds the limits of a head.
    pub fn load<'a>(files: &dyn Fn(&str) -> Option<&'a [u8]>, side_px: u32) -> Result<Self, HeadError> {
        let file = |name: &str| files(name).ok_or_else(|| HeadError::Missing { file: name.to_owned() });
        let rig = Rig::parse(file("rig.json")?)?;
        let arrays = Arrays { entries: &rig.mesh, bytes: file("mesh.bin")? };
        let camera = rig.camera();
        let textures = read_textures(files, &rig)?;
        let skin = Part::read(&arrays, &rig, "skin")?;
        check_counts(&skin, "skin")?;
        let turn_shares = arrays.shares("skin_turn", &[skin.points.len()])?;
        let atlas = KeyAtlas::read(&arrays, &rig, &skin, &textures[..rig.keys.len()])?;
        let interior = read_interior(&arrays, &rig, &textures)?;
        let lash = read_lash(files, &arrays, &rig)?;
        let plates = [&rig.plates.bodyfull, &rig.plates.body].map(|entry| read_plate(files, &rig, entry.as_ref()));
        let [body, collar] = plates;
        let plates = [body?, collar?];
        let hair_back = read_hair(files, &rig, rig.plates.hairback.as_ref(), &rig.hair_depth.back)?;
        let hair_front = read_hair(files, &rig, rig.plates.hairfront.as_ref(), &rig.hair_depth.front)?;
        let eyes = read_eyes(files, &rig)?;
        let backdrop = Arc::new(scaled_backdrop(&rig, &plates, crate::media::FrameSize::square(side_px).width()));
        Ok(Self {
            rig,
            camera,
            skin,
            turn_shares,
            atlas,
            textures,
            interior,
            lash,
            eyes,
            hair_back,
            hair_front,
            plates,
            backdrop,
        })
    }

    /// Backdrop for the resolution for which the head was loaded.
    pub(super) fn prepared_backdrop(&self) -> Arc<Backdrop> {
        Arc::clone(&self.backdrop)
    }

    /// Backdrop for `side` pixels: shared if the resolution matches.
    pub(super) fn backdrop(&self, side: usize) -> Arc<Backdrop> {
        if self.backdrop.side == side {
            return Arc::clone(&self.backdrop);
        }
        Arc::new(scaled_backdrop(&self.rig, &self.plates, side))
    }

    /// Memory of its images, which is nearly all that it takes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        let textures = self.textures.iter().map(SkinTexture::size_bytes).sum::<usize>();
        let plates = self.plates.iter().flatten().map(Plate::size_bytes).sum::<usize>();
        let hair = [&self.hair_back, &self.hair_front].into_iter().flatten().map(Hair::size_bytes).sum::<usize>();
        // Background, body and collar at the size of the frame.
        let backdrop = 3 * 4 * self.backdrop.side * self.backdrop.side;
        (textures + plates + hair + backdrop) as u64
    }

    /// ID of the first triangle of the eyes, among all that are not skin.
    pub(super) fn first_eye(&self) -> usize {
        self.interior.last().map_or(0, |inside| inside.first + inside.part.triangles.len())
    }
}

fn check_counts(part: &Part, name: &str) -> Result<(), HeadError> {
    let limit = INTERIOR_BIT as usize - 1 - 2 * Eyes::TRIANGLES;
    if part.triangles.len() <= limit {
        return Ok(());
    }
    Err(HeadError::mesh(name, format!("at most {limit} triangles"), &part.triangles.len()))
}

fn read_textures(files: Files, rig: &Rig) -> Result<Vec<SkinTexture>, HeadError> {
    let tongue = rig.interior.tongue.as_ref().unwrap_or(&rig.interior.image);
    let names = rig.keys.iter().map(|key| &key.image).chain([&rig.interior.image, tongue]);
    names.map(|name| Ok(SkinTexture::new(&read_image(files, name, rig.grade.saturation)?))).collect()
}

fn read_plate(files: Files, rig: &Rig, entry: Option<&PlateEntry>) -> Result<Option<Plate>, HeadError> {
    let Some(entry) = entry else { return Ok(None) };
    let image = read_image(files, &entry.image, rig.grade.saturation)?;
    let [left, top, right, bottom] = entry.bounds.map(i64::from);
    if (right - left, bottom - top) != (image.width as i64, image.height as i64) || left.abs().max(top.abs()) > 4096 {
        let found = format!("{}x{} pixels for the box {:?}", image.width, image.height, entry.bounds);
        return Err(HeadError::Image { file: entry.image.clone(), found });
    }
    Ok(Some(Plate::new(&image, entry.bounds)))
}

/// A hair plate, bent over its depth grid.
fn read_hair(
    files: Files,
    rig: &Rig,
    entry: Option<&PlateEntry>,
    depths: &[Vec<f32>],
) -> Result<Option<Hair>, HeadError> {
    let invalid = |error: TextureError| HeadError::rig(format!("invalid hair plate: {error}"));
    let plate = read_plate(files, rig, entry)?;
    plate.map(|plate| Hair::new(&rig.camera(), &plate, depths).map_err(invalid)).transpose()
}

/// Background, body and collar for frames of `side` pixels.
fn scaled_backdrop(rig: &Rig, plates: &[Option<Plate>; 2], side: usize) -> Backdrop {
    Backdrop::new(rig, [plates[0].as_ref(), plates[1].as_ref()], side)
}

fn read_interior(arrays: &Arrays, rig: &Rig, textures: &[SkinTexture]) -> Result<Vec<MouthPart>, HeadError> {
    let mut inside = Vec::new();
    let mut first = 0;
    for (name, texture) in [("lt", Some(0)), ("tongue", Some(1)), ("ut", Some(0)), ("cavity", None)] {
        let part = Part::read(arrays, rig, name)?;
        let look = match texture {
            None => MouthMaterial::Cavity,
            Some(offset) => {
                let texture = rig.keys.len() + offset;
                let uv = arrays.steps(&format!("{name}_uv"), &[part.points.len(), 2], rig.uv_scale)?;
                let place = |uv: &[f32; 2]| textures[texture].clamp(uv.map(|value| (value - 0.5) * 256.0));
                MouthMaterial::Textured { texture, uv: uv.as_chunks::<2>().0.iter().map(place).collect() }
            }
        };
        let count = part.triangles.len();
        check_counts(&part, name)?;
        inside.push(MouthPart { part, look, first, is_lower_teeth: name == "lt" });
        first += count;
    }
    if first + 2 * Eyes::TRIANGLES >= INTERIOR_BIT as usize {
        return Err(HeadError::mesh("cavity_tri", "fewer triangles inside the mouth", &first));
    }
    Ok(inside)
}

fn read_lash(files: Files, arrays: &Arrays, rig: &Rig) -> Result<Lash, HeadError> {
    let part = Part::read(arrays, rig, "lash")?;
    let image = read_image(files, "lash.webp", rig.grade.saturation)?;
    let uv = arrays.steps("lash_uv", &[part.points.len(), 2], rig.uv_scale)?;
    let bounds = [0, 0, image.width as i32, image.height as i32];
    let uv = uv.as_chunks::<2>().0.iter().map(|uv| uv.map(|value| value - 0.5)).collect();
    Ok(Lash { part, plate: Plate::new(&image, bounds), uv })
}

fn read_eyes(files: Files, rig: &Rig) -> Result<Eyes, HeadError> {
    let entry = rig.eyes.clone();
    let image = |name: &str| read_image(files, name, rig.grade.saturation);
    let sclera = SkinTexture::new(&image(&entry.sclera)?);
    let iris = Plate::new(&image(&entry.iris)?, entry.bounds);
    let glint = SkinTexture::new(&image(&entry.glint)?);
    Ok(Eyes::new(entry, sclera, iris, glint))
}
