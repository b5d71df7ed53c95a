//! Files that the program writes: complete under their name, or absent.
//!
//! Decides how a path is written. A regular file, or a path where nothing exists, is written under a unique name beside it,
//! synced to disk and renamed; a killed process leaves the old file unchanged. Symbolic links are followed, so
//! that the link stays and its target is replaced. A character device or a FIFO is written directly. Everything else is
//! refused: a directory, a socket, and a block device, where a typing error would destroy a disk.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// The extension of incomplete files.
pub const UNFINISHED: &str = "unfinished";
/// Names tried for the temporary file. Only files of killed processes with the same process id can be in the way.
const MAX_NAMES: u32 = 1000;
/// Longest part of the file's own name within the temporary name: file systems allow 255 bytes in total.
const MAX_NAME_BYTES: usize = 200;
/// Maximum number of symbolic links followed; Linux has the same limit (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

/// Distinguishes the temporary files of one process.
static NEXT_NAME: AtomicU32 = AtomicU32::new(0);

/// A file that is being written. Dropping it without [`OutputFile::commit`] removes what was written so far.
#[derive(Debug)]
pub struct OutputFile {
    file: File,
    /// `None` where the path is written directly.
    rename: Option<Rename>,
}

/// Removes the temporary file unless it was renamed.
#[derive(Debug)]
struct Rename {
    temporary: PathBuf,
    target: PathBuf,
    is_done: bool,
}

impl Drop for Rename {
    fn drop(&mut self) {
        if !self.is_done {
            // A file that cannot be removed is no worse than one left by a killed process.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Who may read a new file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Readers {
    /// By the process's umask, or as the replaced file had it.
    Default,
    /// Only its owner.
    Owner,
}

impl OutputFile {
    /// Starts to write `path` from its beginning to its end.
    ///
    /// # Errors
    /// If the file, or a file beside it, cannot be created or written; if `path` is a directory, a socket or a block device;
    /// if it is a FIFO that nobody reads.
    pub fn create(path: &Path) -> io::Result<Self> {
        match fs::metadata(path) {
            Ok(found) if is_fifo(&found) => Ok(Self { file: open_fifo(path)?, rename: None }),
            _ => Self::create_seekable(path),
        }
    }

    /// Starts to write `path` with seeks, which a FIFO does not allow.
    ///
    /// # Errors
    /// As [`OutputFile::create`], and if `path` is a FIFO.
    pub fn create_seekable(path: &Path) -> io::Result<Self> {
        Self::begin(path, Readers::Default)
    }

    /// Starts to write a file that only its owner may read, such as a private key.
    ///
    /// # Errors
    /// As [`OutputFile::create_seekable`].
    pub fn create_private(path: &Path) -> io::Result<Self> {
        Self::begin(path, Readers::Owner)
    }

    /// Writes all of `bytes` to `path`.
    ///
    /// # Errors
    /// As [`OutputFile::create`], or if the bytes cannot be written.
    pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut output = Self::create(path)?;
        output.file.write_all(bytes)?;
        output.commit()
    }

    /// A second handle with the same position, for a writer that takes ownership of one.
    ///
    /// # Errors
    /// If the system has no more file handles.
    pub fn handle(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Syncs the bytes to disk and gives the file its name. Buffered bytes must have been flushed.
    ///
    /// # Errors
    /// If the bytes cannot be written or the file cannot be renamed; the old file then stays.
    pub fn commit(self) -> io::Result<()> {
        let Some(mut rename) = self.rename else { return Ok(()) };
        self.file.sync_all()?;
        fs::rename(&rename.temporary, &rename.target)?;
        rename.is_done = true;
        // Syncing the folder makes the rename durable; where a folder cannot be opened (Windows), the system does it.
        let _ = File::open(folder_of(&rename.target)).and_then(|folder| folder.sync_all());
        Ok(())
    }

    fn begin(path: &Path, readers: Readers) -> io::Result<Self> {
        let found = match fs::metadata(path) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        match found {
            Some(found) if !found.is_file() => {
                refuse_unless_character_device(&found)?;
                Ok(Self { file: File::options().write(true).open(path)?, rename: None })
            }
            found => Self::beside(follow_links(path)?, found.as_ref(), readers),
        }
    }

    fn beside(target: PathBuf, found: Option<&Metadata>, readers: Readers) -> io::Result<Self> {
        if found.is_some() {
            // A file that this user may not write is not replaced either, even if the folder would allow it.
            File::options().write(true).open(&target)?;
        }
        for _ in 0..MAX_NAMES {
            let temporary = temporary_path(&target)?;
            let mut options = File::options();
            options.write(true).create_new(true);
            #[cfg(unix)]
            if readers == Readers::Owner {
                std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            }
            match options.open(&temporary) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(file) => {
                    if let Some(found) = found.filter(|_| readers == Readers::Default) {
                        // Best effort: on some file systems permissions cannot be changed.
                        let _ = file.set_permissions(found.permissions());
                    }
                    return Ok(Self { file, rename: Some(Rename { temporary, target, is_done: false }) });
                }
            }
        }
        let message = format!("wanted a free temporary name beside it, found {MAX_NAMES} in use");
        Err(io::Error::new(ErrorKind::AlreadyExists, message))
    }
}

/// Whether both paths lead to the same existing file, through symbolic or hard links as well.
#[must_use]
pub fn is_same_file(a: &Path, b: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let identity = |path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
        identity(a).is_some_and(|a| identity(b) == Some(a))
    }
    #[cfg(not(unix))]
    {
        fs::canonicalize(a).is_ok_and(|a| fs::canonicalize(b).is_ok_and(|b| a == b))
    }
}

/// The file that `path` means: the end of its chain of symbolic links, which may be missing.
fn follow_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_symlink() => path = folder_of(&path).join(fs::read_link(&path)?),
            _ => return Ok(path),
        }
    }
    Err(io::Error::other(format!("wanted at most {MAX_LINKS} symbolic links, found more")))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn temporary_path(target: &Path) -> io::Result<PathBuf> {
    let name = target.file_name().ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "wanted a file name"))?;
    let mut name = name.to_owned();
    if name.len() > MAX_NAME_BYTES {
        name = "visage".into();
    }
    name.push(format!(".{}-{}.{UNFINISHED}", process::id(), NEXT_NAME.fetch_add(1, Ordering::Relaxed)));
    Ok(target.with_file_name(name))
}

fn refuse_unless_character_device(found: &Metadata) -> io::Result<()> {
    if found.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    match kind_of(found) {
        "a character device" => Ok(()),
        kind => Err(io::Error::new(ErrorKind::InvalidInput, format!("wanted a regular file, found {kind}"))),
    }
}

#[cfg(unix)]
fn kind_of(found: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let kind = found.file_type();
    match () {
        () if kind.is_char_device() => "a character device",
        () if kind.is_block_device() => "a block device",
        () if kind.is_fifo() => "a FIFO, which does not support seeking",
        () if kind.is_socket() => "a socket",
        () => "something else",
    }
}

#[cfg(not(unix))]
fn kind_of(_found: &Metadata) -> &'static str {
    "something else"
}

#[cfg(unix)]
fn is_fifo(found: &Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_fifo(&found.file_type())
}

#[cfg(not(unix))]
fn is_fifo(_found: &Metadata) -> bool {
    false
}

/// Opens a FIFO that has a reader. Opened write-only, one without a reader blocks forever; opened read-write, it never reports
/// that its reader has left. So a first non-blocking handle checks for a reader.
#[cfg(unix)]
fn open_fifo(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let asked = File::options().write(true).custom_flags(libc::O_NONBLOCK).open(path);
    match asked {
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {
            Err(io::Error::new(ErrorKind::BrokenPipe, "wanted a FIFO with a reader, found one without"))
        }
        Err(error) => Err(error),
        Ok(_has_reader) => File::options().write(true).open(path),
    }
}

#[cfg(not(unix))]
fn open_fifo(path: &Path) -> io::Result<File> {
    File::options().write(true).open(path)
}

#[cfg(all(test, unix))]
mod tests {
    use std::io::Read as _;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::process::Command;

    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder")
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn fifo(path: &Path) {
        assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo runs").success());
    }

    #[test]
    fn the_old_file_stays_until_the_new_one_is_complete() {
        let folder = folder();
        let path = folder.path().join("talk.mp4");
        OutputFile::write(&path, b"old").expect("written");
        let mut output = OutputFile::create_seekable(&path).expect("created");
        output.file.write_all(b"new").expect("written");
        assert_eq!(fs::read(&path).expect("a file"), b"old");
        output.commit().expect("renamed");
        assert_eq!(fs::read(&path).expect("a file"), b"new");
        drop(OutputFile::create(&path).expect("created"));
        assert_eq!(
            (names(folder.path()), fs::read(&path).expect("a file")),
            (vec!["talk.mp4".into()], b"new".to_vec())
        );
    }

    #[test]
    fn two_writers_of_one_path_share_no_file_and_the_later_one_wins() {
        let folder = folder();
        let path = folder.path().join("talk.mp4");
        let mut first = OutputFile::create(&path).expect("created");
        let mut second = OutputFile::create(&path).expect("created");
        first.file.write_all(b"first, which is long").expect("written");
        second.file.write_all(b"second").expect("written");
        assert_eq!(names(folder.path()).len(), 2);
        first.commit().expect("renamed");
        second.commit().expect("renamed");
        assert_eq!((names(folder.path()).len(), fs::read(&path).expect("a file")), (1, b"second".to_vec()));
    }

    #[test]
    fn links_stay_and_their_targets_are_replaced_or_created() {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("deep")).expect("a folder");
        symlink("deep/talk.mp4", at("link")).expect("a link");
        symlink("link", at("link to link")).expect("a link");
        for bytes in [b"made".as_slice(), b"replaced"] {
            OutputFile::write(&at("link to link"), bytes).expect("written");
            assert_eq!(fs::read(at("deep/talk.mp4")).expect("a file"), bytes);
            assert!(at("link").is_symlink() && at("link to link").is_symlink());
        }
        symlink("round", at("round")).expect("a link");
        assert!(OutputFile::create(&at("round")).is_err());
        assert_eq!(names(&at("deep")), ["talk.mp4"]);
    }

    #[test]
    fn a_device_is_not_replaced() {
        let null = Path::new("/dev/null");
        for create in [OutputFile::create, OutputFile::create_seekable] {
            let mut output = create(null).expect("opened");
            output.file.write_all(b"lost").expect("written");
            output.commit().expect("nothing to rename");
            assert_eq!(kind_of(&fs::metadata(null).expect("a device")), "a character device");
        }
        if Path::new("/dev/full").exists() {
            let error = OutputFile::write(Path::new("/dev/full"), b"much").expect_err("full");
            assert_eq!(error.kind(), ErrorKind::StorageFull);
        }
    }

    #[test]
    fn a_fifo_with_a_reader_is_written_directly() {
        let folder = folder();
        let path = folder.path().join("fifo");
        fifo(&path);
        assert_eq!(OutputFile::create(&path).expect_err("no reader").kind(), ErrorKind::BrokenPipe);
        let error = OutputFile::create_seekable(&path).expect_err("no seeks").to_string();
        assert!(error.contains("FIFO"), "{error}");
        let mut reader = Command::new("cat").arg(&path).stdout(process::Stdio::piped()).spawn().expect("cat runs");
        let mut output = loop {
            match OutputFile::create(&path) {
                Ok(output) => break output,
                Err(error) => assert_eq!(error.kind(), ErrorKind::BrokenPipe),
            }
        };
        output.file.write_all(b"{}").expect("written");
        output.commit().expect("nothing to rename");
        let mut text = String::new();
        reader.stdout.take().expect("piped").read_to_string(&mut text).expect("text");
        reader.wait().expect("ended");
        assert_eq!((text.as_str(), is_fifo(&fs::metadata(&path).expect("a fifo"))), ("{}", true));
    }

    #[test]
    fn paths_that_are_not_files_are_refused_with_their_kind() {
        let folder = folder();
        let path = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
        let error = OutputFile::create(&path).expect_err("a socket").to_string();
        assert!(error.contains("a socket"), "{error}");
        assert_eq!(OutputFile::create(folder.path()).expect_err("a folder").kind(), ErrorKind::IsADirectory);
        let missing = OutputFile::create(&folder.path().join("missing/talk.mp4")).expect_err("no folder");
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn permissions_are_kept_and_a_private_file_is_readable_by_its_owner_only() {
        let folder = folder();
        let (path, key) = (folder.path().join("talk.mp4"), folder.path().join("key.pem"));
        let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
        OutputFile::write(&path, b"a").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("its owner may");
        OutputFile::write(&path, b"b").expect("written");
        assert_eq!(mode(&path), 0o640);
        fs::write(&key, "readable").expect("written");
        OutputFile::create_private(&key).expect("created").commit().expect("renamed");
        assert_eq!(mode(&key), 0o600);
    }

    #[test]
    fn links_to_one_file_are_the_same_file() {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("voice.wav"), "a").expect("written");
        fs::write(at("other.wav"), "a").expect("written");
        symlink("voice.wav", at("link")).expect("a link");
        fs::hard_link(at("voice.wav"), at("hard")).expect("a link");
        let voice = at("voice.wav");
        assert!(["link", "hard", "./voice.wav"].iter().all(|name| is_same_file(&voice, &at(name))));
        assert!(["other.wav", "missing.wav"].iter().all(|name| !is_same_file(&voice, &at(name))));
        assert!(!is_same_file(&at("missing.wav"), &at("missing.wav")));
    }

    #[test]
    fn a_name_of_255_bytes_can_be_written() {
        let folder = folder();
        let path = folder.path().join("x".repeat(255));
        OutputFile::write(&path, b"a").expect("written");
        assert_eq!(fs::read(path).expect("a file"), b"a");
    }
}
