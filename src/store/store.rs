//! All users of one process: a cache of open users, and the thread that does what need not be done at once.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::change::Change;
use super::content::KeptOpen;
use super::disk::{Disk, Local};
use super::epoch;
use super::error::{Error, Result};
use super::group_sync::Waiter;
use super::hot::HotMetas;
use super::journal::{self, Bounds, Journal};
use super::limits::{MAX_MESSAGE, MIN_GARBAGE, SEGMENT_SIZE};
use super::mailbox::ViewId;
use super::names::{MailboxId, ModSeq, UserName};
use super::open_users::OpenUsers;
use super::path::user_dir;
use super::user::{User, unix_now};

/// How long a change of flags may wait for its sync.
const SYNC_DELAY: Duration = Duration::from_millis(500);

/// How often the housekeeper looks for users that nobody uses any more, and for open files that have been removed.
const LOOK_AROUND: Duration = Duration::from_secs(300);

/// Hears what happens in a store.
pub trait ChangeListener: Send + Sync {
    /// Hears of every change right after it is written, before it is durable.
    fn changed(&self, user: &UserName, mailbox: MailboxId, modseq: ModSeq);

    /// What this one waits for ([`User::settle`]) is on stable storage: it asks again. May not block.
    fn synced(&self, _waiter: Waiter) {}

    /// The sync that this one waited for is over, and another one needed: it asks again, the sooner the better, since
    /// others wait for what it does then. Best done by this thread, when it returns. `false` when it is gone. May not block.
    fn syncs_next(&self, _waiter: Waiter) -> bool {
        false
    }

    /// Whether [`happened`](Self::happened) is worth its cost now.
    fn asks(&self) -> bool {
        false
    }

    /// Hears what a change was, after `changed`; only while it asks. May not block.
    fn happened(&self, _change: &Change<'_>) {}
}

/// When changes of flags get durable (`store.flagsync`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagSync {
    /// Before the OK.
    Immediate,
    /// Within a second.
    Deferred,
}

/// What can change while the store is in use.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    pub flag_sync: FlagSync,
    /// Largest message, in bytes.
    pub max_message: u64,
}

/// How a store is used.
#[derive(Clone, Debug)]
pub struct Options {
    /// The partition: users are beneath.
    pub root: PathBuf,
    pub tuning: Tuning,
    /// A segment of a log is sealed when it is longer than this, in bytes.
    pub segment_size: u32,
    /// So many bytes that nobody needs are not worth the work of making room.
    pub(super) min_garbage: u64,
    /// When the users of a process share syncs.
    pub(super) journal: Bounds,
    /// Where all writing goes.
    pub(super) disk: Arc<dyn Disk>,
    /// Seconds since 1970, where something gets old.
    pub(super) clock: fn() -> i64,
}

impl Options {
    /// A store beneath `root` with everything else as it is by default.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Options {
            root: root.into(),
            tuning: Tuning { flag_sync: FlagSync::Deferred, max_message: MAX_MESSAGE },
            segment_size: SEGMENT_SIZE,
            min_garbage: MIN_GARBAGE,
            journal: Bounds::default(),
            disk: Arc::new(Local),
            clock: unix_now,
        }
    }

    /// The same on another disk.
    #[cfg(test)]
    pub(crate) fn on(self, disk: Arc<super::disk::Counting>) -> Self {
        Options { disk, ..self }
    }
}

/// The message store, as one process uses it. Open it after `fork`.
pub struct Store {
    shared: Arc<Shared>,
    users: Arc<Users>,
}

type Users = Mutex<OpenUsers>;

pub(super) struct Shared {
    pub options: Options,
    pub tuning: ArcSwap<Tuning>,
    pub listener: Arc<dyn ChangeListener>,
    pub epoch: u64,
    pub journal: Journal,
    pub hot: HotMetas,
    pub kept_open: KeptOpen,
    /// Message bytes in memory that have not come in full.
    pub arriving: Arc<AtomicUsize>,
    /// How many handles for users there have been.
    pub opened: AtomicU64,
    /// How many views there have been.
    viewed: AtomicU64,
    chores: Mutex<Chores>,
    new_chore: Condvar,
}

/// What the housekeeper has to do.
#[derive(Default)]
struct Chores {
    users: Vec<Arc<User>>,
    due: Option<Instant>,
    closed: bool,
}

impl Store {
    /// Opens the store and starts its housekeeper.
    ///
    /// # Errors
    /// When what journals hold cannot be put back, the partition's epoch not be read, or no thread be started.
    pub fn open(options: Options, listener: Arc<dyn ChangeListener>) -> Result<Store> {
        journal::recover(&*options.disk, &options.root)?;
        let epoch = epoch::current(&options.root)?;
        let journal = Journal::new(&options.root, options.disk.clone(), listener.clone(), options.journal);
        let (chores, new_chore) = (Mutex::default(), Condvar::new());
        let tuning = ArcSwap::from_pointee(options.tuning);
        let (hot, kept_open, arriving, opened, viewed) = Default::default();
        let shared = Arc::new(Shared {
            options,
            tuning,
            listener,
            epoch,
            journal,
            hot,
            kept_open,
            arriving,
            opened,
            viewed,
            chores,
            new_chore,
        });
        let users: Arc<Users> = Arc::default();
        let (keeper, known) = (shared.clone(), Arc::downgrade(&users));
        let keep_house = move || keeper.keep_house(&known);
        let started = thread::Builder::new().name("housekeeper".into()).spawn(keep_house);
        started.map_err(Error::io("cannot start the housekeeper of", &shared.options.root))?;
        Ok(Store { shared, users })
    }

    /// Changes what can be changed; it holds for what begins from now on.
    pub fn tune(&self, tuning: Tuning) {
        self.shared.tuning.store(Arc::new(tuning));
    }

    /// The user's store; it comes into being with an INBOX when there is none.
    ///
    /// # Errors
    /// When its files cannot be opened or are damaged.
    pub fn user(&self, name: &UserName) -> Result<Arc<User>> {
        if let Some(user) = self.users().find(name) {
            return Ok(user);
        }
        // Opened without the lock: a slow disk must not stop the others. Two at once are harmless, one stays.
        let opened = match User::open(self.shared.clone(), name.clone()) {
            Err(error) if error.is_out_of_descriptors() && self.let_go_of_idle() => {
                User::open(self.shared.clone(), name.clone())
            }
            other => other,
        };
        let (user, gone) = self.users().add(Arc::new(opened?));
        drop(gone);
        Ok(user)
    }

    /// Closes the files of users without sessions; whether there were any.
    fn let_go_of_idle(&self) -> bool {
        let gone = self.users().take_all_idle();
        !gone.is_empty()
    }

    /// As [`user`](Self::user), of one whose store is there, for work on it as a whole: nobody keeps it when that is done.
    /// `None` when there is no such user.
    ///
    /// # Errors
    /// As for [`user`](Self::user).
    pub fn existing_user(&self, name: &UserName) -> Result<Option<Arc<User>>> {
        if !user_dir(&self.shared.options.root, name).join("log").exists() {
            return Ok(None);
        }
        User::open(self.shared.clone(), name.clone()).map(|user| Some(Arc::new(user)))
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    fn users(&self) -> MutexGuard<'_, OpenUsers> {
        lock(&self.users)
    }

    /// Makes everything durable. Call it when no session is left.
    pub fn close(&self) {
        let users = std::mem::take(&mut *self.users());
        for user in users.all() {
            report(&user, user.sync_all());
            user.tell_durable();
        }
        self.shared.journal.close();
        let mut chores = self.shared.chores();
        chores.closed = true;
        self.shared.new_chore.notify_all();
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn chores(&self) -> MutexGuard<'_, Chores> {
        self.chores.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For a view that begins.
    pub fn next_view(&self) -> ViewId {
        ViewId(self.viewed.fetch_add(1, Ordering::Relaxed))
    }

    /// Has the user's log synced, and a snapshot written when one is due, soon.
    pub fn defer_sync(&self, user: &Arc<User>) {
        // It has been asked for: the housekeeper takes the mark away before it syncs, which is then after this write.
        if user.is_in_chores.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut chores = self.chores();
        chores.users.push(user.clone());
        if chores.due.is_none() {
            chores.due = Some(Instant::now() + SYNC_DELAY);
            self.new_chore.notify_all();
        }
    }

    fn keep_house(&self, known: &Weak<Users>) {
        let mut looked = Instant::now();
        while let Some(users) = self.next_chores() {
            for user in users {
                user.is_in_chores.swap(false, Ordering::AcqRel);
                report(&user, user.do_chores());
            }
            self.journal.pass_on();
            if looked.elapsed() >= LOOK_AROUND {
                looked = Instant::now();
                let Some(users) = known.upgrade() else { continue };
                let gone = lock(&users).shrink();
                drop(gone);
                let left = lock(&users).all();
                left.iter().for_each(|user| report(user, user.close_removed()));
            }
        }
    }

    /// Waits for what is due, which may be a look around; `None` when the store is closed and nothing is left to do.
    fn next_chores(&self) -> Option<Vec<Arc<User>>> {
        let mut chores = self.chores();
        loop {
            let now = Instant::now();
            let wait = match chores.due {
                Some(due) if due <= now || chores.closed => {
                    chores.due = None;
                    return Some(std::mem::take(&mut chores.users));
                }
                _ if chores.closed => return None,
                Some(due) => due - now,
                None => LOOK_AROUND,
            };
            let waited = self.new_chore.wait_timeout(chores, wait).unwrap_or_else(PoisonError::into_inner);
            chores = waited.0;
            if waited.1.timed_out() && chores.due.is_none() {
                return Some(Vec::new());
            }
        }
    }
}

fn lock(users: &Users) -> MutexGuard<'_, OpenUsers> {
    users.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An error of the housekeeper has no client to go to.
fn report(user: &User, result: Result<()>) {
    if let Err(error) = result {
        log::error!(user = user.name().as_str(), error = error.to_string(); "deferred write failed, it will be tried again with the next change");
    }
}
