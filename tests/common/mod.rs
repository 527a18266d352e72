//! What the tests share: a real server on a temporary base, a small client, and the dialogue runner.
//!
//! | module | holds |
//! |---|---|
//! | [`server`] | starts the program that is under test and stops it again |
//! | [`target`] | that server, or another that is to be judged |
//! | [`wire`] | one connection: bytes out, whole responses in |
//! | [`client`] | commands and their replies, for tests written in Rust |
//! | [`secure`] | a connection over TLS |
//! | [`response`] | a response as a tree of atoms, strings and lists |
//! | [`pattern`] | what a dialogue expects, matched against a response |
//! | [`dialogue`] | the text files in `tests/dialogues` |
//! | [`corpus`] | realistic messages, the same in every run |
#![allow(dead_code, reason = "every test binary compiles this module and uses a part of it")]

pub mod client;
pub mod corpus;
pub mod dialogue;
pub mod pattern;
pub mod response;
pub mod secure;
pub mod server;
pub mod target;
pub mod wire;
