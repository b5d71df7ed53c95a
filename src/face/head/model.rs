//! A head's files, read and checked once, shared by all sessions that show it.

use std::sync::Arc;

use super::HeadError;
use super::arrays::Arrays;
use super::backdrop::Stage;
use super::camera::Camera;
use super::eyes::Eyes;
use super::hair::Hair;
use super::key_weights::KeyAtlas;
use super::part::Part;
use super::rig::{PlateEntry, Rig};
use super::texture::{Files, Plate, SkinTexture, read_image};
use super::visibility::INNER;
use crate::face::raster::TextureError;

/// A head, immutable.
#[derive(Debug)]
pub struct HeadModel {
    pub(super) rig: Rig,
    pub(super) camera: Camera,
    pub(super) skin: Part,
    /// Share of the head's turn of each vertex of the skin, 0 to 1.
    pub(super) turn_shares: Vec<f32>,
    pub(super) atlas: KeyAtlas,
    /// Images of the keys, then of the teeth, then of the tongue.
    pub(super) textures: Vec<SkinTexture>,
    pub(super) interior: Vec<Inside>,
    pub(super) lash: Lash,
    pub(super) eyes: Eyes,
    pub(super) hair_back: Option<Hair>,
    pub(super) hair_front: Option<Hair>,
    plates: [Option<Plate>; 2],
    stage: Arc<Stage>,
}

/// A part of the mouth's inside.
#[derive(Debug)]
pub(super) struct Inside {
    pub part: Part,
    pub look: InsideLook,
    /// Its first triangle among all that are not skin.
    pub first: usize,
    pub is_lower_teeth: bool,
}

/// How a part of the mouth's inside is coloured.
#[derive(Debug)]
pub(super) enum InsideLook {
    /// By an image; texture coordinates in 1/256 texel.
    Textured { texture: usize, uv: Vec<[f32; 2]> },
    /// The dark behind the teeth.
    Cavity,
}

/// Upper lashes: alpha over everything of the face.
#[derive(Debug)]
pub(super) struct Lash {
    pub part: Part,
    pub plate: Plate,
    /// In texels from the first texel's centre.
    pub uv: Vec<[f32; 2]>,
}

impl HeadModel {
    /// Reads a head from the files of its avatar, for pictures of `side_px` (others work too, at a cost when they begin).
    /// Wanted are `rig.json`, `mesh.bin` and the images that the rig names.
    ///
    /// # Errors
    /// If a file is missing, does not decode, or holds what a head cannot have.
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
        let plate = |entry: &Option<PlateEntry>| read_plate(files, &rig, entry.as_ref());
        let plates = [plate(&rig.plates.bodyfull)?, plate(&rig.plates.body)?];
        let bend = |entry: &Option<PlateEntry>, depths: &[Vec<f32>]| {
            let wrong = |error: TextureError| HeadError::rig(format!("hair that is no texture: {error}"));
            plate(entry)?.map(|plate| Hair::new(&camera, &plate, depths).map_err(wrong)).transpose()
        };
        let hair_back = bend(&rig.plates.hairback, &rig.hair_depth.back)?;
        let hair_front = bend(&rig.plates.hairfront, &rig.hair_depth.front)?;
        let eyes = read_eyes(files, &rig)?;
        let side = crate::media::FrameSize::square(side_px).width();
        let stage = Arc::new(Stage::new(&rig, [plates[0].as_ref(), plates[1].as_ref()], side));
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
            stage,
        })
    }

    /// The stage for the pictures that the head was loaded for.
    pub(super) fn prepared_stage(&self) -> Arc<Stage> {
        Arc::clone(&self.stage)
    }

    /// The stage for pictures of `side` pixels: the shared one if it fits.
    pub(super) fn stage(&self, side: usize) -> Arc<Stage> {
        if self.stage.side == side {
            return Arc::clone(&self.stage);
        }
        Arc::new(Stage::new(&self.rig, [self.plates[0].as_ref(), self.plates[1].as_ref()], side))
    }

    /// Memory of its images, which is nearly all that it takes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        let textures = self.textures.iter().map(SkinTexture::size_bytes).sum::<usize>();
        let plates = self.plates.iter().flatten().map(Plate::size_bytes).sum::<usize>();
        let hair = [&self.hair_back, &self.hair_front].into_iter().flatten().map(Hair::size_bytes).sum::<usize>();
        // Background, body and collar at the size of the frame.
        let backdrop = 3 * 4 * self.stage.side * self.stage.side;
        (textures + plates + hair + backdrop) as u64
    }

    /// The first triangle of the eyes among all that are not skin.
    pub(super) fn first_eye(&self) -> usize {
        self.interior.last().map_or(0, |inside| inside.first + inside.part.triangles.len())
    }
}

fn check_counts(part: &Part, name: &str) -> Result<(), HeadError> {
    let limit = INNER as usize - 1 - 2 * Eyes::TRIANGLES;
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
        let found = format!("{} by {} pixels for the box {:?}", image.width, image.height, entry.bounds);
        return Err(HeadError::Image { file: entry.image.clone(), found });
    }
    Ok(Some(Plate::new(&image, entry.bounds)))
}

fn read_interior(arrays: &Arrays, rig: &Rig, textures: &[SkinTexture]) -> Result<Vec<Inside>, HeadError> {
    let mut inside = Vec::new();
    let mut first = 0;
    for (name, texture) in [("lt", Some(0)), ("tongue", Some(1)), ("ut", Some(0)), ("cavity", None)] {
        let part = Part::read(arrays, rig, name)?;
        let look = match texture {
            None => InsideLook::Cavity,
            Some(offset) => {
                let texture = rig.keys.len() + offset;
                let uv = arrays.steps(&format!("{name}_uv"), &[part.points.len(), 2], rig.uv_scale)?;
                let place = |uv: &[f32; 2]| textures[texture].clamp(uv.map(|value| (value - 0.5) * 256.0));
                InsideLook::Textured { texture, uv: uv.as_chunks::<2>().0.iter().map(place).collect() }
            }
        };
        let count = part.triangles.len();
        check_counts(&part, name)?;
        inside.push(Inside { part, look, first, is_lower_teeth: name == "lt" });
        first += count;
    }
    if first + 2 * Eyes::TRIANGLES >= INNER as usize {
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
