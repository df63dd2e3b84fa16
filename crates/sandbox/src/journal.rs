//! The file that a sandbox reads its records back from.
//!
//! Each exchange that changed something adds one line before it is answered. The line is then with the operating system, so it
//! outlives this process however it ends; it is not forced to the disk, so it may not outlive a power cut. A line that was torn is
//! dropped, and with it all of its exchange, which had not been answered.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::core::{Changes, Core};

/// A file that is smaller is not written anew.
const REWRITE_BYTES: u64 = 64 * 1024 * 1024;
/// How many states of each record, on average, a larger one may hold before it is written anew.
const REWRITE_TIMES: usize = 4;

/// Why a journal cannot be used.
#[derive(Debug, Error)]
pub enum WrongJournal {
    /// The system does not let us.
    #[error("the journal `{}` cannot be read and written: {error}; name a file in a folder that can be written", path.display())]
    Unusable {
        /// The journal.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Another sandbox has it.
    #[error("the journal `{}` is in use by another sandbox; stop that one, or name another file", .0.display())]
    InUse(PathBuf),
    /// It is something else, or it is damaged.
    #[error("line {line} of the journal `{}` is not a sandbox's: {error}; move the file away to start with an empty CRM", path.display())]
    Unreadable {
        /// The journal.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// Where in the line.
        error: io::Error,
    },
}

/// An open journal. It is under 64 MiB, or holds at most about four states of each record.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    /// The bytes of its whole lines.
    whole: u64,
    /// Whether there may be something after them.
    torn: bool,
    /// A line that could not be written yet.
    owed: Vec<u8>,
    /// The states of records in it, with one for each line.
    entries: usize,
    /// The bytes below which it is not written anew.
    rewrite_at: u64,
}

impl Journal {
    /// Opens or makes a journal, which only its owner may read, restores what it holds, and writes it anew without what is outdated.
    ///
    /// # Errors
    ///
    /// It cannot be read or written, is in use, or is no journal.
    pub fn open(path: &Path, core: &mut Core) -> Result<Self, WrongJournal> {
        let unusable = |error| WrongJournal::Unusable { path: path.into(), error };
        let file = options().create(true).open(path).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(WrongJournal::InUse(path.into())),
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        // Between opening and locking, another sandbox may have put a new file, locked by itself, in the place of this one.
        let (ours, there) = (file.metadata().map_err(unusable)?, std::fs::metadata(path).map_err(unusable)?);
        if (ours.dev(), ours.ino()) != (there.dev(), there.ino()) {
            return Err(WrongJournal::InUse(path.into()));
        }
        read(path, &file, core)?;
        core.keep_changes();
        let mut journal = Self { path: path.into(), file, whole: 0, torn: false, owed: Vec::new(), entries: 0, rewrite_at: REWRITE_BYTES };
        journal.rewrite(core).map_err(unusable)?;
        Ok(journal)
    }

    /// Writes what could not be written before.
    ///
    /// # Errors
    ///
    /// It still cannot.
    pub fn settle(&mut self) -> io::Result<()> {
        if self.owed.is_empty() {
            return Ok(());
        }
        if self.torn {
            self.file.set_len(self.whole)?;
        }
        self.torn = true;
        self.file.write_all(&self.owed)?;
        self.torn = false;
        self.whole += u64::try_from(self.owed.len()).unwrap_or_default();
        self.owed = Vec::new();
        Ok(())
    }

    /// Adds what the core says has changed.
    ///
    /// # Errors
    ///
    /// It cannot be written; it is kept for [`Journal::settle`], before which nothing may be applied.
    pub fn keep(&mut self, core: &mut Core) -> io::Result<()> {
        let Some(Changes { emptied, entries, line }) = core.changes()? else { return Ok(()) };
        if emptied {
            (self.whole, self.torn, self.entries) = (0, true, 0);
        }
        self.owed = line;
        self.entries += entries;
        self.settle()?;
        if self.whole > self.rewrite_at
            && self.entries > core.held().saturating_mul(REWRITE_TIMES)
            && let Err(error) = self.rewrite(core)
        {
            tracing::warn!(%error, journal = %self.path.display(), "the sandbox's journal could not be written anew; it goes on growing");
            self.rewrite_at = self.whole.saturating_mul(2);
        }
        Ok(())
    }

    /// Puts a file with what is there now in the place of this one.
    fn rewrite(&mut self, core: &Core) -> io::Result<()> {
        let beside = self.path.with_added_extension("new");
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let file = options().create_new(true).open(&beside)?;
        file.try_lock()?;
        let mut to = BufWriter::with_capacity(1 << 20, &file);
        core.write_all(&mut to)?;
        to.flush()?;
        drop(to);
        // Without this a power cut could leave an empty file in the place of the whole one.
        file.sync_all()?;
        self.whole = file.metadata()?.len();
        std::fs::rename(&beside, &self.path)?;
        (self.file, self.torn) = (file, false);
        (self.entries, self.rewrite_at) = (core.held(), REWRITE_BYTES);
        Ok(())
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(0o600);
    options
}

/// Restores every whole line.
fn read(path: &Path, file: &File, core: &mut Core) -> Result<(), WrongJournal> {
    let mut lines = BufReader::with_capacity(1 << 20, file);
    let mut text = Vec::new();
    for line in 1.. {
        text.clear();
        lines.read_until(b'\n', &mut text).map_err(|error| WrongJournal::Unusable { path: path.into(), error })?;
        if text.last() != Some(&b'\n') {
            if !text.is_empty() {
                tracing::warn!(journal = %path.display(), line, "the journal's last line was torn; the call behind it was never answered");
            }
            break;
        }
        core.restore(&text).map_err(|error| WrongJournal::Unreadable { path: path.into(), line, error })?;
    }
    Ok(())
}

#[cfg(test)]
impl Journal {
    /// Exchanges the open file, to make writing fail.
    pub fn exchange(&mut self, file: File) -> File {
        std::mem::replace(&mut self.file, file)
    }

    /// Has the file written anew after the next line.
    pub fn rewrite_soon(&mut self) {
        (self.entries, self.rewrite_at) = (usize::MAX >> 1, self.whole);
    }
}
