//! The Event Notification Service as the settings ask for it: enpd here, and a publisher in every worker.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process;
use std::sync::Arc;

use crate::config::{AccessList, Base, ENS_ACCESS, EnsSettings, Settings};
use crate::notify::{Address, EventKey, Hub, Kinds, Origin, Parts, Publisher, enpd};

use super::EnsService;
use super::service::host_name;

/// How a publisher in a worker calls its process.
const PROCESS: &str = "imapd";

/// enpd, when it is to run. With rules that make no sense it is not: nobody may then connect, and the log says why.
pub(super) fn service(settings: &EnsSettings) -> Option<Arc<EnsService>> {
    if !settings.enable {
        log::info!("the event notification service is off: local.ens.enable");
        return None;
    }
    let access = match AccessList::from_environment() {
        None => settings.access.clone(),
        Some(Ok(access)) => access,
        Some(Err(error)) => {
            log::error!("enpd is not started: {ENS_ACCESS}: {error}");
            return None;
        }
    };
    let addresses = settings.listen.iter().map(|ip| SocketAddr::new(*ip, settings.port)).collect();
    let options = enpd::Options { addresses, access };
    Some(Arc::new(move |listener| Ok(enpd::serve(listener, options.clone())?)))
}

/// A worker's publisher, when one is loaded.
pub(super) fn publisher(
    settings: &Settings,
    address: Address,
    server: u64,
    hub: Arc<Hub>,
) -> std::io::Result<Option<Arc<Publisher>>> {
    let notify = &settings.notify;
    if !notify.plugin {
        return Ok(None);
    }
    let key = match EventKey::parse(&notify.event_key) {
        Ok(key) => key,
        Err(error) => {
            log::error!("no events are published: local.store.notifyplugin.enseventkey: {error}");
            return Ok(None);
        }
    };
    let host = settings.server_name.clone().unwrap_or_else(host_name);
    log::debug!(address:% = address; "publishing events");
    Publisher::start(Parts {
        address,
        server,
        origin: Origin { key, host, process: PROCESS, pid: process::id() },
        kinds: Kinds::switched_on(&notify.events),
        header_size: notify.header_size,
        body_size: notify.body_size,
        follower: Some(hub),
    })
    .map(Some)
}

/// Where the processes of a base find the event notification service.
pub fn event_service(base: &Base, settings: &Settings) -> Address {
    let host = settings.server_name.clone().unwrap_or_else(host_name);
    address(settings, &host, base.proc_dir())
}

/// Where `enshost` is: the Unix socket when it means the enpd of this base.
fn address(settings: &Settings, own_name: &str, directory: PathBuf) -> Address {
    let (ens, notify) = (&settings.ens, &settings.notify);
    let is_here = ens.enable && ens.port == notify.port && is_own_host(&notify.host, own_name, &ens.listen);
    if is_here { Address::Local(directory) } else { Address::Tcp(notify.host.clone(), notify.port) }
}

/// Without asking the DNS: a name that is neither ours nor `localhost` is another machine.
fn is_own_host(host: &str, own_name: &str, listen: &[IpAddr]) -> bool {
    let Ok(ip) = host.parse::<IpAddr>() else {
        return host.eq_ignore_ascii_case(own_name) || host.eq_ignore_ascii_case("localhost");
    };
    // 127.0.0.2 may be another server on the same machine; an address of a network is this one, if we have it.
    let is_unnamed = !ip.is_loopback() || listen.iter().any(|address| address.is_unspecified());
    listen.contains(&ip) || (is_unnamed && UdpSocket::bind((ip, 0)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_hosts_are_this_one() {
        let here: IpAddr = "127.0.0.1".parse().unwrap();
        let everywhere: IpAddr = "0.0.0.0".parse().unwrap();
        for (host, listen, is_own) in [
            ("127.0.0.1", &[here][..], true),
            ("127.0.0.2", &[here], false),
            ("127.0.0.2", &[everywhere], true),
            ("localhost", &[here], true),
            ("Mail.Example", &[here], true),
            ("other.example", &[here], false),
            // TEST-NET-1: no machine has it.
            ("192.0.2.1", &[here], false),
            ("192.0.2.1", &[everywhere], false),
        ] {
            assert_eq!(is_own_host(host, "mail.example", listen), is_own, "{host} {listen:?}");
        }
    }
}
