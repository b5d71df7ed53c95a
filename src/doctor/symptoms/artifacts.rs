//! Symptoms that a person sees or hears.
//!
//! Decides their causes, in order of likelihood, and what to do.

use super::evidence::{broken_memory, driver_old, heat, slow, windows_driver};
use super::{Cause, Sign, Symptom};

const OUT_OF_STEP: Symptom = Symptom {
    id: "out-of-step",
    title: "sound and picture are out of step",
    texts: &["out of step", "out of sync", "lip sync", "lip-sync", "lipsync", "desync", "a/v sync", "av sync"],
    sights: &[
        (&["sound", "audio", "voice"], &["drift", "synchron", "sync", "not match", "apart"]),
        (
            &["sound", "audio", "voice"],
            &["before the", "after the", "ahead of", "behind", "late", "lag", "early", "earlier", "delayed"],
        ),
    ],
    codes: &[],
    causes: &[
        Cause {
            says: "the film is not as long as its sound",
            sign: |_| Sign::Hidden("ffprobe tells the duration of both"),
            remedy: "give a film's duration the length of its sound: a clip must be as long as its sound, to a picture",
            types: &["ffprobe -v error -show_entries stream=codec_type,duration talk.mp4"],
        },
        Cause {
            says: "pictures come late: the card or processor is slowed or too slow",
            sign: slow,
            remedy: "a smaller picture, fewer sessions, full power",
            types: &["visage bench --lips", "visage serve --resolution-px 256"],
        },
        Cause {
            says: "the sound's rate is not what its file says",
            sign: |_| Sign::Hidden("the error grows with time; `ffprobe` tells the rate, and the ear the pitch"),
            remedy: "convert it",
            types: &["ffmpeg -i FILE -ac 1 -ar 48000 voice.wav"],
        },
        Cause {
            says: "the player or headphones hold the sound back",
            sign: |_| Sign::Hidden("the error stays the same, and goes with wired headphones or another player"),
            remedy: "compare with `visage bench --lips`, which has no player",
            types: &["visage bench --lips"],
        },
    ],
};

const MOUTH: Symptom = Symptom {
    id: "mouth",
    title: "the mouth drifts or is stiff",
    texts: &[],
    sights: &[(
        &["mouth", "lips", "jaw", "face"],
        &[
            "drift",
            "stiff",
            "wander",
            "barely",
            "hardly",
            "too little",
            "not move",
            "don't move",
            "doesn't move",
            "frozen",
            "slides",
            "wobbl",
        ],
    )],
    codes: &[],
    causes: &[
        Cause {
            says: "Sonic's dynamic_scale is too low (stiff) or too high (drifting)",
            sign: |_| Sign::Hidden("it changes with dynamic_scale alone, the same sound and picture"),
            remedy: "dynamic_scale 1.0 to 1.2; the built-in faces have no such setting",
            types: &[],
        },
        Cause {
            says: "Sonic's motion_scale is too high",
            sign: |_| Sign::Hidden("head and mouth wander together"),
            remedy: "motion_scale 1.1 or less",
            types: &[],
        },
        Cause {
            says: "the face in the picture is not aligned",
            sign: |_| Sign::Hidden("another portrait, taken from the front, does not do it"),
            remedy: "align it: from the front, eyes level, chin to forehead in the picture, mouth free",
            types: &[],
        },
        Cause {
            says: "the sound is quiet, or has music in it",
            sign: |_| Sign::Hidden("a clear voice at usual loudness does not do it"),
            remedy: "give it the voice alone",
            types: &["ffmpeg -i FILE -af loudnorm -ac 1 -ar 48000 voice.wav"],
        },
    ],
};

const BLACK_FRAMES: Symptom = Symptom {
    id: "black-frames",
    title: "black frames or colour blocks",
    texts: &["colour block", "color block", "coloured block", "colored block", "coloured square", "colored square"],
    sights: &[(
        &["frame", "picture", "video", "screen", "image", "face"],
        &["black", "blank", "green", "block", "square", "pixelat", "artefact", "artifact", "garbage", "corrupt"],
    )],
    codes: &[],
    causes: &[
        Cause {
            says: "the driver was reset in the middle",
            sign: |_| Sign::Hidden("the kernel's log tells an Xid, Windows' event log nvlddmkm 4101, at that time"),
            remedy: "start visage anew; if it comes again, the next causes",
            types: &["sudo dmesg | grep -i xid"],
        },
        Cause {
            says: "the card is hot or short of power",
            sign: heat,
            remedy: "see to air and dust, or let it draw less",
            types: &["nvidia-smi -q -d TEMPERATURE,POWER"],
        },
        Cause {
            says: "the driver is old, or was installed over another one",
            sign: driver_old,
            remedy: "reinstall the driver from nothing",
            types: &["sudo apt-get purge 'nvidia-*'", "sudo apt-get install nvidia-driver-580-open", "sudo reboot"],
        },
        Cause {
            says: "a Game Ready driver in a long run",
            sign: windows_driver,
            remedy: "install the Sessions driver: it is the one for runs of hours",
            types: &["start https://www.nvidia.com/drivers"],
        },
        Cause {
            says: "the card's memory is broken, or run too fast",
            sign: broken_memory,
            remedy: "take back any overclocking, reset the card",
            types: &["sudo nvidia-smi -r"],
        },
        Cause {
            says: "packets are lost on the way, and the browser fills in blocks",
            sign: |_| Sign::Hidden("a film of `visage render` has none, and the page counts what was lost"),
            remedy: "fewer bits, or a better wire",
            types: &["visage render --audio voice.wav --out talk.mp4"],
        },
    ],
};

/// Symptoms that a person sees.
pub const SYMPTOMS: &[Symptom] = &[OUT_OF_STEP, MOUTH, BLACK_FRAMES];
