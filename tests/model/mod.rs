//! The model: a reference kept in memory, clients that judge every response, and random operations of several clients
//! over several workers.
//!
//! | module | holds |
//! |---|---|
//! | [`op`] | operations, and how they are made |
//! | [`truth`] | the mailboxes as they have to be |
//! | [`line`] | untagged responses, read |
//! | [`session`] | what one client knows, and what it may be told |
//! | [`case`] | a user, its clients and an observer; one command at a time |
//! | [`act`] | each command: what it does to the reference, what has to be answered |
//! | [`read`] | FETCH and SEARCH |
//! | [`crowd`] | the same commands from all clients at once |

pub mod act;
pub mod case;
pub mod crowd;
pub mod line;
pub mod op;
pub mod read;
pub mod session;
pub mod truth;

/// What a check comes to: an error says what is wrong.
pub type Verdict<T = ()> = Result<T, String>;

/// Fails the check unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}
pub(crate) use ensure;
