//! Listeners: where clients reach Doorward, and whether they must show who they are.

use std::collections::BTreeMap;

use super::addresses::Address;
use super::meaning::{Meaning, under};
use super::written::{self, Access};
use super::{Client, Listener, ServerTls};

impl Meaning<'_> {
    pub(super) fn listeners(
        &mut self,
        written: BTreeMap<String, written::Listener>,
        clients: &[Client],
    ) -> Vec<Listener> {
        if written.is_empty() && self.layers.sure("/listeners") {
            let fault = self.layers.fault("/listeners", "there is no listener");
            self.faults
                .push(fault.help("add `[listeners.main]` with `address = \"127.0.0.1:8080\"`"));
        }
        let mut listeners: Vec<Listener> = Vec::new();
        for (name, listener) in written {
            let at = under("/listeners", &name);
            self.name(&at, &name);
            if let Some(listener) = self.listener(name, &at, listener) {
                self.clash(&at, &listener, &listeners);
                listeners.push(listener);
            }
        }
        let needing = listeners.iter().find(|listener| listener.access == Access::Clients);
        match needing {
            Some(listener) if clients.is_empty() && self.certain(listener) => {
                let at = under("/listeners", &listener.name);
                let message = format!(
                    "listener `{}` needs client keys, but there is no client",
                    listener.name
                );
                let fault = self.layers.key_fault(&at, message);
                let fault = fault.help("make a key with `doorward key new NAME`");
                let open =
                    "or set `access = \"open\"`: whoever reaches it then acts as the account";
                self.faults.push(if listener.address.is_local() {
                    fault.help(open)
                } else {
                    fault
                });
            }
            None if !clients.is_empty() && !listeners.is_empty() => self.warnings.push(
                "there are clients with keys, but every listener is open and asks nobody for one"
                    .to_owned(),
            ),
            _ => {}
        }
        listeners
    }

    /// Whether it is sure what the listener's access and the clients are.
    fn certain(&self, listener: &Listener) -> bool {
        self.layers.sure("/clients") && !self.layers.broken(&under("/listeners", &listener.name))
    }

    fn listener(&mut self, name: String, at: &str, written: written::Listener) -> Option<Listener> {
        let tls = written.tls.and_then(|tls| self.server_tls(&under(at, "tls"), tls));
        let address_at = under(at, "address");
        let address = match Address::parse(&written.address?) {
            Ok(Address::Unix(path)) => {
                Address::Unix(self.path(&address_at, &path.to_string_lossy()))
            }
            Ok(address) => address,
            Err((message, help)) => {
                let fault = self.layers.fault(&address_at, message);
                self.faults.push(help.into_iter().fold(fault, |fault, help| fault.help(help)));
                return None;
            }
        };
        // A misspelt key of this listener may be the one that makes it safe.
        if !self.layers.broken(at) {
            if tls.is_some() && written.plaintext.is_some() {
                self.fault(&under(at, "plaintext"), "this listener has `tls` itself");
            } else if !address.is_local() {
                self.exposed(at, written.access, tls.is_some() || written.plaintext.is_some());
            }
        }
        Some(Listener { name, address, access: written.access, tls })
    }

    /// Judges a listener that others than this machine reach.
    fn exposed(&mut self, at: &str, access: Access, encrypted: bool) {
        if access == Access::Open {
            let message = "an open listener must be on loopback or a Unix socket";
            let fault = self.layers.fault(&under(at, "access"), message);
            self.faults.push(
                fault
                    .help("whoever reaches it would act as the account")
                    .help("use `access = \"clients\"`, or an address such as 127.0.0.1:8080"),
            );
        }
        if !encrypted {
            let message = "a listener that is neither loopback nor a Unix socket needs `tls`";
            let fault = self.layers.fault(&under(at, "address"), message);
            self.faults.push(
                fault.help("where a proxy in front ends TLS, set `plaintext = \"behind-tls\"`"),
            );
        }
    }

    fn server_tls(&mut self, at: &str, written: written::ServerTls) -> Option<ServerTls> {
        let certificate = self.path(&under(at, "certificate"), &written.certificate?);
        let key = self.path(&under(at, "key"), &written.key?);
        Some(ServerTls { certificate, key })
    }

    fn clash(&mut self, at: &str, listener: &Listener, others: &[Listener]) {
        let other = others.iter().find(|other| other.address.clashes(&listener.address));
        if let Some(other) = other {
            let message = format!("listener `{}` has this address already", other.name);
            self.fault(&under(at, "address"), message);
        }
    }
}
