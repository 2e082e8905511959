//! Loopback addresses: a net of 254 addresses for each kubelet on this machine, and an address for
//! each of its pods.

use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Result, bail};

/// Port on the last address of a net. The kubelet that listens on it owns the net. A real kubelet
/// on this machine would use 10250.
const PORT: u16 = 11_250;
const NODE: u8 = 254;

/// The net 127.0.`net`.0/24. The node has .254, pods have .1 to .253.
#[derive(Debug)]
pub(crate) struct Addresses {
    net: u8,
    listener: Option<TcpListener>,
    pods: Mutex<Pods>,
}

#[derive(Debug, Default)]
struct Pods {
    taken: BTreeSet<u8>,
    last: u8,
}

impl Addresses {
    /// Claims the first net that no other kubelet on this machine holds, usually 127.0.1.0/24.
    pub(crate) fn claim() -> Result<Self> {
        for net in 1..=250 {
            if let Ok(listener) = TcpListener::bind((Ipv4Addr::new(127, 0, net, NODE), PORT)) {
                return Ok(Self {
                    net,
                    listener: Some(listener),
                    pods: Mutex::default(),
                });
            }
        }
        bail!("no free net for pods: port {PORT} is taken on 127.0.1.{NODE} to 127.0.250.{NODE}")
    }

    /// Returns the node's own address.
    pub(crate) fn node(&self) -> Ipv4Addr {
        Ipv4Addr::new(127, 0, self.net, NODE)
    }

    /// Takes the socket that holds the net, so that the kubelet can serve on it. Returns it once.
    pub(crate) fn take_listener(&mut self) -> Option<TcpListener> {
        self.listener.take()
    }

    /// Returns an address for a pod. It is the one that has been unused for longest, so that nobody
    /// mistakes the pod for the address's previous pod.
    pub(crate) fn take(&self) -> Option<Ipv4Addr> {
        let mut pods = self.pods.lock();
        let last = pods.last;
        let free = (last + 1..NODE)
            .chain(1..=last)
            .find(|host| !pods.taken.contains(host))?;
        pods.taken.insert(free);
        pods.last = free;
        Some(Ipv4Addr::new(127, 0, self.net, free))
    }

    /// Gives an address back.
    pub(crate) fn release(&self, address: Ipv4Addr) {
        self.pods.lock().taken.remove(&address.octets()[3]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_kubelets_on_one_machine_have_nets_of_their_own() {
        let (one, other) = (Addresses::claim().unwrap(), Addresses::claim().unwrap());
        assert_ne!(one.node(), other.node());
    }

    #[test]
    fn a_released_address_is_the_last_to_be_given_out_again() {
        let addresses = Addresses::claim().unwrap();
        let first = addresses.take().unwrap();
        addresses.release(first);
        let given: Vec<_> = (1..NODE).map(|_| addresses.take().unwrap()).collect();
        assert_eq!(given.last(), Some(&first));
        assert_eq!(
            addresses.take(),
            None,
            "there are no more than {}",
            given.len()
        );
    }
}
