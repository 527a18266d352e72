//! What to look for.

use smallvec::SmallVec;

use crate::message::{Needle, Scope};
use crate::store::{Flags, Message, ModSeq, Selected, UidIndex, UidSet};

/// Which day of a message a date key looks at; all in days since 1970-01-01, without regard to time and zone
/// (RFC 9051 §6.4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Day {
    /// INTERNALDATE
    Internal,
    /// The Date: field; a message without one matches no test.
    Sent,
    /// When the message came into the mailbox, in UTC (RFC 8514).
    Saved,
}

/// A condition on one message. A needle is large and rare: it has a place of its own.
pub enum Test {
    All,
    And(Vec<Test>),
    Or(Vec<Test>),
    Not(Box<Test>),
    Uids(UidSet),
    /// A system flag is set.
    Flag(Flags),
    /// The mailbox's keyword with this number is set; `None` for one that it does not know.
    Keyword(Option<usize>),
    Recent,
    /// More bytes than this.
    Larger(u64),
    /// Fewer bytes than this.
    Smaller(u64),
    /// The day is `from` or later, and before `until`.
    Date {
        day: Day,
        from: i32,
        until: i32,
    },
    /// Received at this time or later, in seconds since 1970.
    ReceivedSince(i64),
    Email(Option<u64>),
    Thread(Option<u64>),
    ModSeq(ModSeq),
    Header(Box<HeaderTest>),
    Text {
        needle: Box<Needle>,
        scope: Scope,
    },
}

/// That a field of the header has a text; any, where its name is empty.
pub struct HeaderTest {
    pub field: SmallVec<[u8; 32]>,
    pub needle: Needle,
}

/// What has to be read to know the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cost {
    Memory,
    Header,
    Body,
}

impl Test {
    pub(super) fn cost(&self) -> Cost {
        match self {
            Test::And(tests) | Test::Or(tests) => tests.iter().map(Test::cost).max().unwrap_or(Cost::Memory),
            Test::Not(test) => test.cost(),
            Test::Header(_) => Cost::Header,
            Test::Text { .. } => Cost::Body,
            _ => Cost::Memory,
        }
    }

    /// Puts the cheap conditions first everywhere. Recurses as deep as the grammar's bound on nesting.
    fn sort(&mut self) {
        match self {
            Test::And(tests) | Test::Or(tests) => {
                tests.iter_mut().for_each(Test::sort);
                tests.sort_by_key(Test::cost);
            }
            Test::Not(test) => test.sort(),
            _ => {}
        }
    }

    fn all_of(mut tests: Vec<Test>) -> Test {
        match tests.len() {
            0 => Test::All,
            1 => tests.swap_remove(0),
            _ => Test::And(tests),
        }
    }

    /// What memory alone can say, and the rest, of a test that was sorted.
    fn split(self) -> (Test, Test) {
        match self {
            test if test.cost() == Cost::Memory => (test, Test::All),
            Test::And(mut tests) => {
                let reading = tests.split_off(tests.partition_point(|test| test.cost() == Cost::Memory));
                (Test::all_of(tests), Test::all_of(reading))
            }
            test => (Test::All, test),
        }
    }

    /// Flags that have to be there and flags that must not be, when that is all this asks: so do most searches, and it can be
    /// seen at a glance.
    pub(super) fn system_flags(&self) -> Option<(Flags, Flags)> {
        match self {
            Test::All => Some((Flags::NONE, Flags::NONE)),
            Test::Flag(flag) => Some((*flag, Flags::NONE)),
            Test::Not(test) => match **test {
                Test::Flag(flag) => Some((Flags::NONE, flag)),
                _ => None,
            },
            Test::And(tests) => tests.iter().try_fold((Flags::NONE, Flags::NONE), |(with, without), test| {
                test.system_flags().map(|(more, less)| (with | more, without | less))
            }),
            _ => None,
        }
    }

    /// The answer from memory alone, for a test whose cost is [`Cost::Memory`]. Recurses as deep as the grammar's bound
    /// on nesting.
    pub(super) fn in_memory(&self, message: &Message, mailbox: &Selected) -> bool {
        match self {
            Test::And(tests) => tests.iter().all(|test| test.in_memory(message, mailbox)),
            Test::Or(tests) => tests.iter().any(|test| test.in_memory(message, mailbox)),
            Test::Not(test) => !test.in_memory(message, mailbox),
            Test::All => true,
            Test::Uids(uids) => uids.contains(message.uid),
            Test::Flag(flag) => message.flags.contains(*flag),
            Test::Keyword(index) => index.is_some_and(|index| message.keywords.contains(index)),
            Test::Recent => mailbox.is_recent(message.uid),
            Test::Larger(size) => u64::from(message.size) > *size,
            Test::Smaller(size) => u64::from(message.size) < *size,
            Test::Date { day, from, until } => {
                day_of(message, *day).is_some_and(|day| (*from..*until).contains(&day))
            }
            Test::ReceivedSince(time) => message.internal_date.timestamp >= *time,
            Test::Email(id) => *id == Some(message.email),
            Test::Thread(id) => *id == Some(message.thread),
            Test::ModSeq(since) => message.modseq >= *since,
            Test::Header(_) | Test::Text { .. } => false,
        }
    }
}

fn day_of(message: &Message, day: Day) -> Option<i32> {
    match day {
        Day::Internal => Some(message.internal_date.day()),
        Day::Sent => message.sent_day,
        Day::Saved => i32::try_from(message.save_date.div_euclid(86_400)).ok(),
    }
}

/// A condition, and the messages among which to look.
pub struct Program {
    pub(super) within: UidSet,
    /// What memory alone can say: it leaves few messages, often, for the test that has to read them.
    pub(super) sieve: Test,
    /// The rest.
    pub(super) test: Test,
}

impl Program {
    /// Looks for `test` in a mailbox that has `uids`.
    pub fn new(test: Test, uids: &UidIndex) -> Self {
        let mut program = Program { within: uids.to_set(), sieve: Test::All, test: Test::All };
        let mut left = match test {
            Test::And(tests) => program.narrow(tests),
            test => program.narrow([test]),
        };
        left.sort();
        (program.sieve, program.test) = left.split();
        program
    }

    /// Conditions that are sets shrink the field; the others are left.
    fn narrow(&mut self, tests: impl IntoIterator<Item = Test>) -> Test {
        let mut left: SmallVec<[Test; 1]> = SmallVec::new();
        for test in tests {
            match test {
                Test::All => {}
                Test::Uids(uids) => self.within = self.within.intersection(&uids),
                Test::Not(inner) => match *inner {
                    Test::Uids(uids) => self.within = self.within.difference(&uids),
                    Test::All => self.within = UidSet::new(),
                    inner => left.push(Test::Not(Box::new(inner))),
                },
                test => left.push(test),
            }
        }
        if left.len() == 1 { left.swap_remove(0) } else { Test::all_of(left.into_vec()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_told_from_other_conditions() {
        let not = |test| Test::Not(Box::new(test));
        let all = Test::And(vec![
            Test::Flag(Flags::FLAGGED),
            not(Test::Flag(Flags::SEEN)),
            Test::Flag(Flags::DRAFT),
        ]);
        assert_eq!(all.system_flags(), Some((Flags::FLAGGED | Flags::DRAFT, Flags::SEEN)));
        assert_eq!(Test::All.system_flags(), Some((Flags::NONE, Flags::NONE)));
        for other in
            [Test::Recent, not(Test::All), not(Test::And(vec![Test::Flag(Flags::SEEN)])), Test::Keyword(None)]
        {
            assert_eq!(other.system_flags(), None);
            assert_eq!(Test::And(vec![Test::Flag(Flags::SEEN), other]).system_flags(), None);
        }
    }

    fn subject() -> Test {
        Test::Header(Box::new(HeaderTest {
            field: SmallVec::from_slice(b"subject"),
            needle: Needle::new("x"),
        }))
    }

    #[test]
    fn what_needs_no_reading_goes_first() {
        let program = |test| Program::new(test, &UidIndex::default());
        let flagged = || Test::Flag(Flags::FLAGGED);
        let both = program(Test::And(vec![subject(), flagged()]));
        assert!(matches!((both.sieve, both.test), (Test::Flag(_), Test::Header { .. })));
        let one = program(Test::Not(Box::new(subject())));
        assert!(matches!((one.sieve, one.test), (Test::All, Test::Not(_))));
        let other = program(flagged());
        assert!(matches!((other.sieve, other.test), (Test::Flag(_), Test::All)));
        let either = program(Test::Or(vec![subject(), flagged()]));
        let Test::Or(tests) = either.test else { panic!("both have to be asked") };
        assert!(matches!(tests[..], [Test::Flag(_), Test::Header { .. }]), "the cheap one first");
    }
}
