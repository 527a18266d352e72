//! What a user's log says: the result of replaying its records in order.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::archive::Archive;
use super::limits::{EPOCH_MODSEQ_JUMP, EPOCH_UID_JUMP, EPOCH_UID_VALIDITY_JUMP};
use super::mailbox::{Mailbox, Views};
use super::message::LogPos;
use super::names::{MailboxId, MailboxMap};
use super::payload::{Append, Expunge, FlagsChange, Floor, MailboxCreate, MailboxDelete, MailboxRename};
use super::record::Kind;
use super::tree::{SpecialUses, Tree, TreeEntry, subscribe};
use super::wire::Fields;

/// All mailboxes of a user, as of `position` in the log.
#[derive(Debug)]
pub(super) struct State {
    /// The end of the last transaction that was applied.
    pub position: LogPos,
    pub epoch: u64,
    pub last_uid_validity: u32,
    pub mailboxes: MailboxMap<Mailbox>,
    pub subscriptions: BTreeSet<String>,
    by_name: HashMap<String, MailboxId>,
    tree: Option<Arc<Tree>>,
    /// What is gone and can come back; kept only where somebody asked for it.
    pub archive: Option<Box<Archive>>,
    /// Bytes of applied records, bulk not counted, since the last snapshot.
    pub since_snapshot: u64,
    /// Bytes of the last snapshot.
    pub snapshot_len: u64,
}

/// A record that passed its checksum and yet makes no sense.
#[derive(Debug)]
pub(super) struct Misfit;

impl State {
    pub fn new(position: LogPos) -> Self {
        State {
            position,
            epoch: 0,
            last_uid_validity: 0,
            mailboxes: MailboxMap::default(),
            subscriptions: BTreeSet::new(),
            by_name: HashMap::new(),
            tree: None,
            archive: None,
            since_snapshot: 0,
            snapshot_len: 0,
        }
    }

    pub fn by_name(&self, name: &str) -> Option<&Mailbox> {
        self.by_name.get(name).and_then(|id| self.mailboxes.get(id))
    }

    pub fn by_name_mut(&mut self, name: &str) -> Option<&mut Mailbox> {
        self.by_name.get(name).and_then(|id| self.mailboxes.get_mut(id))
    }

    /// The tree. Made when it is first asked for, and after RENAME; kept up to date otherwise.
    pub fn tree(&mut self) -> Arc<Tree> {
        let State { tree, mailboxes, subscriptions, .. } = self;
        let make = || Arc::new(Tree::new(mailboxes.values().map(tree_entry), subscriptions.clone()));
        tree.get_or_insert_with(make).clone()
    }

    /// Changes the tree, if there is one. Who is still reading it keeps it as it was.
    fn change_tree(&mut self, change: impl FnOnce(&mut Tree)) {
        self.tree.as_mut().map(Arc::make_mut).map(change);
    }

    /// A snapshot of this state, `len` bytes long, is on its way.
    pub fn note_snapshot(&mut self, len: u64) {
        self.since_snapshot = 0;
        self.snapshot_len = len;
    }

    /// Adds a mailbox that a snapshot or a record describes.
    pub fn insert(&mut self, mailbox: Mailbox) {
        self.change_tree(|tree| tree.insert(tree_entry(&mailbox)));
        self.last_uid_validity = self.last_uid_validity.max(mailbox.uid_validity);
        self.by_name.insert(mailbox.name.clone(), mailbox.id);
        self.mailboxes.insert(mailbox.id, mailbox);
    }

    /// The views of all mailboxes, to be put into the state that takes the place of this one.
    pub fn take_views(&mut self) -> Vec<(MailboxId, Views)> {
        let watched = self.mailboxes.values_mut().filter(|mailbox| !mailbox.views.is_empty());
        watched.map(|mailbox| (mailbox.id, std::mem::take(&mut mailbox.views))).collect()
    }

    /// Those whose mailbox is no more see so at their next look.
    pub fn put_views(&mut self, views: Vec<(MailboxId, Views)>) {
        for (id, views) in views {
            if let Some(mailbox) = self.mailboxes.get_mut(&id) {
                mailbox.views = views;
            }
        }
    }

    /// Applies one record.
    pub fn apply(&mut self, kind: Kind, payload: &[u8]) -> Result<(), Misfit> {
        self.since_snapshot += payload.len() as u64;
        self.apply_known(kind, payload).ok_or(Misfit)
    }

    fn apply_known(&mut self, kind: Kind, payload: &[u8]) -> Option<()> {
        match kind {
            Kind::Blob | Kind::Meta | Kind::Ignorable | Kind::Seal => {}
            Kind::Append => {
                let append = Append::take(payload)?;
                self.mailboxes.get_mut(&append.mailbox)?.append(&append)?;
            }
            Kind::Flags => {
                let change = FlagsChange::take(payload)?;
                self.mailboxes.get_mut(&change.mailbox)?.change_flags(&change)?;
            }
            Kind::Expunge => {
                let expunge = Expunge::take(payload)?;
                let mailbox = self.mailboxes.get_mut(&expunge.mailbox)?;
                if let Some(archive) = &mut self.archive {
                    archive.expunge(mailbox, &expunge);
                }
                mailbox.expunge(&expunge);
            }
            Kind::MailboxCreate => self.create(&MailboxCreate::take(payload)?),
            Kind::MailboxRename => self.rename(&MailboxRename::take(payload)?)?,
            Kind::MailboxDelete => self.delete(MailboxDelete::take(payload)?)?,
            Kind::Subscribe => self.subscribe(payload)?,
            Kind::Recent => self.claim_recent(payload)?,
            Kind::Floor => {
                let floor = Floor::take(payload)?;
                self.mailboxes.get_mut(&floor.mailbox)?.raise(&floor);
            }
            Kind::Epoch => self.begin_epoch(Fields(payload).u64()?),
            Kind::Base | Kind::Mailbox | Kind::Messages | Kind::Lost | Kind::Gone => return None,
        }
        Some(())
    }

    fn create(&mut self, create: &MailboxCreate<'_>) {
        let uses = SpecialUses::from_bits(create.uses);
        self.insert(Mailbox::new(create.mailbox, create.name.to_owned(), create.uid_validity, uses));
    }

    fn rename(&mut self, rename: &MailboxRename<'_>) -> Option<()> {
        self.tree = None;
        for (id, _) in &rename.0 {
            self.by_name.remove(&self.mailboxes.get(id)?.name);
        }
        for (id, name) in &rename.0 {
            self.mailboxes.get_mut(id)?.name = (*name).to_owned();
            self.by_name.insert((*name).to_owned(), *id);
        }
        Some(())
    }

    fn delete(&mut self, delete: MailboxDelete) -> Option<()> {
        let mailbox = self.mailboxes.remove(&delete.mailbox)?;
        self.by_name.remove(&mailbox.name);
        self.change_tree(|tree| tree.remove(&mailbox.name));
        if let Some(archive) = &mut self.archive {
            archive.delete(mailbox, delete.when);
        }
        Some(())
    }

    fn subscribe(&mut self, payload: &[u8]) -> Option<()> {
        let mut fields = Fields(payload);
        let on = fields.u8()? == 1;
        let name = fields.text16()?;
        self.change_tree(|tree| tree.subscribe(name, on));
        subscribe(&mut self.subscriptions, name, on);
        Some(())
    }

    fn claim_recent(&mut self, payload: &[u8]) -> Option<()> {
        let mut fields = Fields(payload);
        let id = MailboxId(fields.u128()?);
        let below = fields.u64()?;
        let mailbox = self.mailboxes.get_mut(&id)?;
        mailbox.recent_from = mailbox.recent_from.max(below);
        Some(())
    }

    fn begin_epoch(&mut self, epoch: u64) {
        self.epoch = self.epoch.max(epoch);
        self.last_uid_validity = self.last_uid_validity.saturating_add(EPOCH_UID_VALIDITY_JUMP);
        for mailbox in self.mailboxes.values_mut() {
            mailbox.jump(EPOCH_UID_JUMP, EPOCH_MODSEQ_JUMP);
        }
    }
}

fn tree_entry(mailbox: &Mailbox) -> TreeEntry {
    TreeEntry { name: mailbox.name.clone(), id: mailbox.id, uses: mailbox.uses }
}
