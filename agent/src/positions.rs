//! Positions in SQLite: one row per flow and generation, so that a glob may have many live files. The
//! original's table `FILE_CHECKPOINTS` is read as a starting position and never altered.

use crate::identity::{Head, Place, parse_original_id};
use crate::rotation::Generation;
use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};
use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long another process' lock on the database is waited for.
const BUSY: Duration = Duration::from_secs(2);

/// Why positions cannot be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PositionsError {
    /// The file or its directory cannot be made or opened.
    #[error("the positions file {} cannot be opened", path.display())]
    Unopenable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another agent uses the file.
    #[error("the positions file {} is in use by another agent", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Another process holds a lock on the database.
    #[error("the positions file {} is locked by another process", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The file is damaged, or is no SQLite database. It is left as it is: removing it begins anew by
    /// `initialPosition`.
    #[error("the positions file {} is damaged or is not a database", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// Anything else that SQLite reports: a full disk, for instance.
    #[error("the positions file {} failed", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

/// The position of one generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Which one.
    pub id: Generation,
    /// Where it was last.
    pub path: PathBuf,
    /// Where it was last.
    pub place: Place,
    /// Its head.
    pub head: Head,
    /// All before this is delivered.
    pub position: u64,
    /// Its size when it was last looked at.
    pub size: u64,
    /// When it was found gone, in milliseconds since the Unix epoch; `None` = it is there.
    pub gone: Option<u64>,
}

/// A change of a flow's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Writes a row.
    Put(Row),
    /// Removes a row.
    Delete(Generation),
}

/// The newest row of the original for a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginalRow {
    /// The file's path then.
    pub path: PathBuf,
    /// Its device and inode; `None` when the text is not one of the original's ids.
    pub file_id: Option<(u64, u64)>,
    /// Its time of writing at the last listing, in milliseconds since the Unix epoch.
    pub modified: i64,
    /// All before this was delivered, or was given up by the original.
    pub offset: u64,
}

/// What is stored of a flow.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stored {
    /// The flow was begun before: `initialPosition` has been applied.
    pub begun: bool,
    /// Its rows, in the order of their ids.
    pub rows: Vec<Row>,
    /// Where the original was, looked up only for a flow that was not begun.
    pub original: Option<OriginalRow>,
}

/// The store. Clones share it; each call runs on a blocking thread, one at a time.
#[derive(Debug, Clone)]
pub struct Positions(Arc<Mutex<Store>>);

#[derive(Debug)]
struct Store {
    path: PathBuf,
    original: Option<PathBuf>,
    connection: Connection,
    /// Held open: its lock ends with the process.
    _lock: File,
}

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS agent_flows (
        flow TEXT NOT NULL PRIMARY KEY,
        begun INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS agent_positions (
        flow TEXT NOT NULL,
        id INTEGER NOT NULL,
        path BLOB NOT NULL,
        device INTEGER NOT NULL,
        inode INTEGER NOT NULL,
        born INTEGER,
        head_length INTEGER NOT NULL,
        head_md5 BLOB NOT NULL,
        position INTEGER NOT NULL,
        size INTEGER NOT NULL,
        gone INTEGER,
        PRIMARY KEY (flow, id)
    ) WITHOUT ROWID;";

impl Positions {
    /// Opens the database, makes it and its directories if need be, and checks that it can be written.
    /// `original` is another database to read the original's table from. Blocking.
    ///
    /// # Errors
    /// [`PositionsError`], by its cause.
    pub fn open(path: &Path, original: Option<&Path>) -> Result<Self, PositionsError> {
        let unopenable = |source| PositionsError::Unopenable {
            path: path.to_owned(),
            source,
        };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(unopenable)?;
        }
        let lock = lock_beside(path)?;
        let connection = Connection::open(path).map_err(|e| named(path, e))?;
        let store = Store {
            path: path.to_owned(),
            original: original.map(Path::to_owned),
            connection,
            _lock: lock,
        };
        store.prepare().map_err(|e| named(path, e))?;
        Ok(Self(Arc::new(Mutex::new(store))))
    }

    /// What is stored of a flow.
    ///
    /// # Errors
    /// [`PositionsError`].
    pub async fn load(&self, flow: &str) -> Result<Stored, PositionsError> {
        let flow = flow.to_owned();
        self.run(move |store| store.load(&flow)).await
    }

    /// Writes all changes in one transaction, and that the flow was begun.
    ///
    /// # Errors
    /// [`PositionsError`]; nothing was written then.
    ///
    /// # Cancellation
    /// Once begun, the transaction ends although the future is dropped.
    pub async fn save(&self, flow: &str, changes: Vec<Change>) -> Result<(), PositionsError> {
        let flow = flow.to_owned();
        self.run(move |store| store.save(&flow, &changes)).await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, PositionsError> {
        let shared = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || {
            let mut store = shared.lock();
            work(&mut store).map_err(|e| named(&store.path, e))
        });
        match done.await {
            Ok(result) => result,
            Err(panicked) => Err(PositionsError::Unopenable {
                path: self.0.lock().path.clone(),
                source: io::Error::other(panicked),
            }),
        }
    }
}

/// The lock that two agents cannot both have. It is a file of its own, since SQLite's locks come and go
/// with each transaction.
fn lock_beside(path: &Path) -> Result<File, PositionsError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let unopenable = |source| PositionsError::Unopenable {
        path: path.to_owned(),
        source,
    };
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(name)
        .map_err(unopenable)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(PositionsError::InUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(unopenable(source)),
    }
}

fn named(path: &Path, source: rusqlite::Error) -> PositionsError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            PositionsError::Locked { path, source }
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            PositionsError::Corrupt { path, source }
        }
        _ => PositionsError::Failed { path, source },
    }
}

impl Store {
    fn prepare(&self) -> rusqlite::Result<()> {
        self.connection.busy_timeout(BUSY)?;
        self.connection.pragma_update(None, "synchronous", "FULL")?;
        self.connection.execute_batch(SCHEMA)
    }

    fn load(&self, flow: &str) -> rusqlite::Result<Stored> {
        let begun = self
            .connection
            .query_row("SELECT 1 FROM agent_flows WHERE flow = ?1", [flow], |_| {
                Ok(())
            })
            .optional()?
            .is_some();
        let mut rows = self.connection.prepare(
            "SELECT id, path, device, inode, born, head_length, head_md5, position, size, gone
             FROM agent_positions WHERE flow = ?1 ORDER BY id",
        )?;
        let rows = rows
            .query_map([flow], |row| {
                Ok(Row {
                    id: number(row.get(0)?),
                    path: PathBuf::from(OsStr::from_bytes(&row.get::<_, Vec<u8>>(1)?)),
                    place: Place {
                        device: number(row.get(2)?),
                        inode: number(row.get(3)?),
                        born: row.get(4)?,
                    },
                    head: Head {
                        len: usize::try_from(row.get::<_, i64>(5)?).unwrap_or(0),
                        md5: row.get(6)?,
                    },
                    position: number(row.get(7)?),
                    size: number(row.get(8)?),
                    gone: row.get::<_, Option<i64>>(9)?.map(number),
                })
            })?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        let original = if begun { None } else { self.original(flow)? };
        Ok(Stored {
            begun,
            rows,
            original,
        })
    }

    fn original(&self, flow: &str) -> rusqlite::Result<Option<OriginalRow>> {
        match &self.original {
            None => newest_of_original(&self.connection, flow),
            Some(path) if path.exists() => {
                let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                let other = Connection::open_with_flags(path, flags)?;
                other.busy_timeout(BUSY)?;
                newest_of_original(&other, flow)
            }
            Some(_) => Ok(None),
        }
    }

    fn save(&mut self, flow: &str, changes: &[Change]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        transaction.execute(
            "INSERT OR IGNORE INTO agent_flows (flow, begun) VALUES (?1, 1)",
            [flow],
        )?;
        for change in changes {
            match change {
                Change::Put(row) => transaction
                    .prepare_cached(
                        "INSERT OR REPLACE INTO agent_positions (flow, id, path, device, inode,
                         born, head_length, head_md5, position, size, gone)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                    )?
                    .execute(params![
                        flow,
                        row.id.cast_signed(),
                        row.path.as_os_str().as_bytes(),
                        row.place.device.cast_signed(),
                        row.place.inode.cast_signed(),
                        row.place.born,
                        row.head.len,
                        row.head.md5.as_slice(),
                        row.position.cast_signed(),
                        row.size.cast_signed(),
                        row.gone.map(u64::cast_signed),
                    ])?,
                Change::Delete(id) => transaction
                    .prepare_cached("DELETE FROM agent_positions WHERE flow = ?1 AND id = ?2")?
                    .execute(params![flow, id.cast_signed()])?,
            };
        }
        transaction.commit()
    }
}

/// SQLite knows signed numbers alone; the bits are kept.
fn number(stored: i64) -> u64 {
    stored.cast_unsigned()
}

/// The row with the newest `lastUpdated`, which is the one that the original goes by.
fn newest_of_original(
    connection: &Connection,
    flow: &str,
) -> rusqlite::Result<Option<OriginalRow>> {
    if !connection.table_exists(None, "FILE_CHECKPOINTS")? {
        return Ok(None);
    }
    connection
        .query_row(
            "SELECT path, fileId, lastModifiedTime, offset FROM FILE_CHECKPOINTS
             WHERE flow = ?1 ORDER BY lastUpdated DESC LIMIT 1",
            [flow],
            |row| {
                Ok(OriginalRow {
                    path: PathBuf::from(row.get::<_, String>(0)?),
                    file_id: parse_original_id(&row.get::<_, String>(1)?),
                    modified: row.get(2)?,
                    offset: u64::try_from(row.get::<_, i64>(3)?).unwrap_or(0),
                })
            },
        )
        .optional()
}

#[cfg(test)]
#[path = "positions_tests.rs"]
mod tests;
