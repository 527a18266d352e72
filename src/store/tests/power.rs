//! Power fails at every moment of a random life, and leaves what the disk had not synced as it pleases.
//!
//! `HELIOGRAPH_SEED=n` lives the life of one seed, `HELIOGRAPH_SEEDS=n` that of the first n.

use super::life::{Life, Step, look, open, say};
use super::life::{Seen, Sight};
use super::simulated::{Image, Mood, Op, Remains, Whim};
use super::*;

/// Lives that every run of the tests lives.
const SEEDS: u64 = 3;
/// Commands in one life.
const COMMANDS: usize = 60;
const MOODS: [Mood; 6] = [Mood::Thorough, Mood::Mild, Mood::Backward, Mood::Tearing, Mood::Wild, Mood::Wild];

/// What has to hold after power was lost at one moment.
struct Expected<'a> {
    steps: &'a [Step],
    seed: u64,
    moment: usize,
    mood: Mood,
}

impl<'a> Expected<'a> {
    fn at(steps: &'a [Step], moment: usize, seed: u64, mood: Mood) -> Expected<'a> {
        let acknowledged = steps.iter().rposition(|step| step.durable && step.answered <= moment);
        let begun = steps.iter().rposition(|step| step.began < moment).map_or(0, |last| last + 1);
        // Before the user's birth is acknowledged, nothing is promised.
        let steps = acknowledged.map_or(&[][..], |first| &steps[first..begun.max(first + 1)]);
        Expected { steps, seed, moment, mood }
    }

    /// Boots, and compares what is there; gives back what the recovery did, and to which disk.
    fn check(&self, remains: &Remains) -> (Vec<Op>, Image) {
        let dir = scratch();
        let (disk, image) = remains.restore(dir.path());
        epoch::begin(&*disk, dir.path(), [b'2'; 36]).unwrap();
        let (_store, user) = open(dir.path(), disk.clone()).unwrap_or_else(|error| panic!("{self}: {error}"));
        let (sight, seen) = look(&user);
        let recovery = disk.ops();
        if !self.steps.is_empty() {
            self.compare(&sight);
            self.compare_numbers(&seen);
        }
        let (_store, again) = open(dir.path(), disk.for_another()).unwrap();
        assert_eq!(look(&again).0, sight, "{self}: a second recovery sees something else");
        assert_eq!(disk.len(), recovery.len(), "{self}: a second recovery writes: {:?}", disk.ops().last());
        self.go_on(&again);
        (recovery, image)
    }

    fn compare(&self, sight: &Sight) {
        if self.steps.iter().any(|step| *step.sight == *sight) {
            return;
        }
        let last = self.steps.last().unwrap();
        panic!(
            "{self}: after `{}` and up to `{}` there is\n{}instead of\n{}",
            self.steps[0].what,
            last.what,
            say(sight),
            say(&last.sight)
        );
    }

    fn compare_numbers(&self, now: &Seen) {
        let before = &self.steps.last().unwrap().seen;
        for (mailbox, next) in &now.uid_next {
            let known = before.uid_next.get(mailbox).copied().unwrap_or(0);
            assert!(*next >= known, "{self}: UIDNEXT went back from {known} to {next}");
        }
        for (mailbox, modseq) in &now.modseq {
            let known = before.modseq.get(mailbox).copied().unwrap_or_default();
            assert!(*modseq >= known, "{self}: HIGHESTMODSEQ went back from {known} to {modseq}");
        }
    }

    /// The user is served as before, and nothing new looks like something old.
    fn go_on(&self, user: &Arc<User>) {
        append(user, "INBOX", 1);
        user.create("after the storm", SpecialUses::NONE).unwrap();
        let validity = user.select("after the storm", Access::ReadOnly, false).unwrap().uid_validity();
        if let Some(last) = self.steps.last() {
            assert!(validity > last.seen.uid_validity, "{self}: UIDVALIDITY {validity} comes again");
        }
    }
}

impl std::fmt::Display for Expected<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HELIOGRAPH_SEED={} power lost at call {}, {:?}", self.seed, self.moment, self.mood)
    }
}

/// Loses power at every moment of the life, and counts how often.
fn lose_power_throughout(seed: u64) -> usize {
    let life = Life::live(seed, COMMANDS);
    let ops = life.disk.ops();
    let mut image = Image::new();
    let mut points = 0;
    for moment in 0..=ops.len() {
        if moment > 0 {
            image.apply(&ops[moment - 1]);
        }
        let moods = if image.is_certain() { &MOODS[..1] } else { &MOODS[..] };
        for (index, mood) in moods.iter().enumerate() {
            let luck = seed << 32 | (moment * MOODS.len() + index) as u64;
            let mut whim = Whim::new(*mood, luck);
            let expected = Expected::at(&life.steps, moment, seed, *mood);
            let remains = image.cut_power(&mut whim);
            let (recovery, found) = expected.check(&remains);
            points += 1;
            if whim.chance(8) {
                points += lose_power_again(&expected, &recovery, found, &mut whim);
            }
        }
    }
    points
}

/// Loses power once more, at some moments of a recovery.
fn lose_power_again(expected: &Expected<'_>, recovery: &[Op], mut image: Image, whim: &mut Whim) -> usize {
    let mut points = 0;
    for op in recovery {
        image.apply(op);
        if !whim.chance(3) {
            continue;
        }
        points += 1;
        whim.mood = MOODS[whim.below(MOODS.len())];
        let dir = scratch();
        let (disk, _) = image.cut_power(whim).restore(dir.path());
        epoch::begin(&*disk, dir.path(), [b'3'; 36]).unwrap();
        let (_store, user) = open(dir.path(), disk)
            .unwrap_or_else(|error| panic!("{expected}, then {:?} at {op:?}: {error}", whim.mood));
        let (sight, seen) = look(&user);
        if !expected.steps.is_empty() {
            expected.compare(&sight);
            expected.compare_numbers(&seen);
        }
    }
    points
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn a_loss_of_power_at_any_moment_takes_nothing_that_was_acknowledged() {
    let seeds = match number("HELIOGRAPH_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("HELIOGRAPH_SEEDS").unwrap_or(SEEDS),
    };
    let mut points = 0;
    for seed in seeds {
        points += lose_power_throughout(seed);
    }
    println!("power was lost {points} times");
}
