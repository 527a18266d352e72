//! What commands cost with different numbers of mailboxes.

use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::row::Out;
use crate::target::Target;
use crate::timing::{Effort, measure, timed};

/// CREATEs that are sent at once while the mailboxes are made.
const BATCH: usize = 100;

/// Which numbers.
#[derive(Args)]
pub struct Arguments {
    /// Rising numbers of mailboxes.
    #[arg(long, value_delimiter = ',', default_value = "1,100,10000")]
    counts: Vec<usize>,
    /// Seconds for each command.
    #[arg(long, default_value_t = 0.5)]
    secs: f64,
}

/// Makes mailboxes of the first user, and measures at each number.
///
/// # Errors
/// When the server refuses anything.
pub fn run(target: &Target, arguments: &Arguments, out: Out) -> Result<()> {
    let mut connection = target.login(0, 0)?;
    let meter = target.meter();
    let mut made = 1;
    for &count in &arguments.counts {
        while made < count {
            let more = BATCH.min(count - made);
            connection.pipeline((made..made + more).map(|n| format!("CREATE folder{}/box{n}", n % 100)))?;
            made += more;
        }
        for (name, command) in [
            ("LIST", "LIST \"\" *"),
            ("LIST one", "LIST \"\" INBOX"),
            ("LIST-STATUS", "LIST \"\" * RETURN (STATUS (MESSAGES UNSEEN UIDNEXT))"),
            ("STATUS", "STATUS INBOX (MESSAGES UNSEEN UIDNEXT)"),
            ("SELECT", "SELECT INBOX"),
        ] {
            let effort = Effort { least: 1, most: 2000, time: Duration::from_secs_f64(arguments.secs) };
            measure(out, ("mailboxes", count), name, &meter, effort, |_| {
                timed(|| connection.command(command))
            })?;
        }
        let effort = Effort { least: 1, most: 200, time: Duration::from_secs_f64(arguments.secs) };
        measure(out, ("mailboxes", count), "CREATE, DELETE", &meter, effort, |_| {
            timed(|| {
                connection.command("CREATE passing")?;
                connection.command("DELETE passing")
            })
        })?;
    }
    Ok(())
}
