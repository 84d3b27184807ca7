//! Listeners: where clients reach Doorward, and whether they must show who they are.

use std::collections::BTreeMap;

use super::addresses::{Address, network};
use super::meaning::{Meaning, under};
use super::written::{self, Access, ProxyProtocol};
use super::{Client, ClientTls, Listener, Proxies, ServerTls};
use crate::access::identity::Ways;

impl Meaning<'_> {
    pub(super) fn listeners(
        &mut self,
        written: BTreeMap<String, written::Listener>,
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
        listeners
    }

    /// Judges whether clients and listeners fit: each listener that asks who calls lets somebody in,
    /// and whatever shows who a client is, is looked at somewhere.
    pub(super) fn let_somebody_in(&mut self, listeners: &[Listener], clients: &[Client]) {
        if !self.layers.sure("/clients") {
            return;
        }
        let asking: Vec<&Listener> =
            listeners.iter().filter(|one| one.access == Access::Clients).collect();
        for listener in &asking {
            let lets_in = |client: &Client| {
                let Ways { keys, tokens, certificates, unix } = listener.ways(client);
                keys || tokens || certificates || unix
            };
            let at = under("/listeners", &listener.name);
            if !clients.iter().any(lets_in) && !self.layers.broken(&at) {
                self.lets_nobody_in(&at, listener, clients);
            }
        }
        if asking.is_empty() && !clients.is_empty() && !listeners.is_empty() {
            self.warnings.push(
                "there are clients, but every listener is open and asks nobody who it is"
                    .to_owned(),
            );
            return;
        }
        // A misspelt key of a listener may be the one that asks.
        if !self.layers.sure("/listeners")
            || listeners.iter().any(|one| self.layers.broken(&under("/listeners", &one.name)))
        {
            return;
        }
        for client in clients {
            let at = under("/clients", client.id.as_str());
            let seen = |sees: fn(Ways) -> bool| asking.iter().any(|one| sees(one.ways(client)));
            if !client.certificates.is_empty() && !seen(|ways| ways.certificates) {
                let message = "no listener asks for clients' certificates";
                let fault = self.layers.fault(&under(&at, "certificates"), message);
                self.faults.push(fault.help("set `tls.client_ca_file` at a listener"));
            }
            if !client.unix.is_empty() && !seen(|ways| ways.unix) {
                let message = "no listener that asks for clients is a Unix socket";
                let fault = self.layers.fault(&under(&at, "unix"), message);
                let fault = fault.help("only there can be told whose process calls");
                let proxied = asking.iter().any(|one| one.proxies == Some(Proxies::Everybody));
                let whose = "at one with `proxy_protocol` it is the proxy's process";
                self.faults.push(if proxied { fault.help(whose) } else { fault });
            }
        }
        let asks = |one: &&&Listener| one.tls.as_ref().is_some_and(|tls| tls.clients.is_some());
        if let Some(listener) = asking.iter().find(asks)
            && clients.iter().all(|client| client.certificates.is_empty())
        {
            self.warnings.push(format!(
                "listener `{}` asks for clients' certificates, but no client has `certificates`: \
                 a certificate then says nothing about who calls",
                listener.name
            ));
        }
    }

    fn lets_nobody_in(&mut self, at: &str, listener: &Listener, clients: &[Client]) {
        let name = &listener.name;
        let message = match clients.is_empty() {
            true => format!("listener `{name}` needs client keys, but there is no client"),
            false => format!("listener `{name}` lets nobody in: no client can show here who it is"),
        };
        let fault = self.layers.key_fault(at, message);
        let fault = fault.help("make a key with `doorward key new NAME`");
        let open = "or set `access = \"open\"`: whoever reaches it then acts as the account";
        self.faults.push(match listener.address.is_local() {
            true => fault.help(open),
            false => fault,
        });
    }

    fn listener(&mut self, name: String, at: &str, written: written::Listener) -> Option<Listener> {
        let tls = written.tls;
        let tls = tls.and_then(|tls| self.server_tls(&under(at, "tls"), written.access, tls));
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
        let behind_tls = written.plaintext.is_some();
        let proxies = written.proxy_protocol.map(|written| {
            self.proxies(&under(&under(at, "proxy_protocol"), "from"), &address, written)
        });
        let (access, half_closed) = (written.access, written.half_closed);
        Some(Listener { name, address, access, tls, behind_tls, proxies, half_closed })
    }

    fn proxies(&mut self, at: &str, address: &Address, written: ProxyProtocol) -> Proxies {
        let mut networks = Vec::new();
        for (index, text) in written.from.unwrap_or_default().iter().enumerate() {
            let at = under(at, &index.to_string());
            match (address, text.as_str()) {
                (Address::Unix(_), "unix") => {}
                (Address::Unix(_), _) => {
                    let message = "peers at a Unix socket have no address";
                    let fault = self.layers.fault(&at, message);
                    self.faults.push(fault.help("write `from = [\"unix\"]`"));
                }
                (Address::Tcp(_) | Address::Inherited(_), text) => match network(text) {
                    Ok(network) => networks.push(network),
                    Err(help) => {
                        let message = "this is neither an IP address nor a network";
                        self.faults.push(self.layers.fault(&at, message).help(help));
                    }
                },
            }
        }
        match address {
            Address::Tcp(_) | Address::Inherited(_) => Proxies::In(networks),
            Address::Unix(_) => Proxies::Everybody,
        }
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

    fn server_tls(
        &mut self,
        at: &str,
        access: Access,
        written: written::ServerTls,
    ) -> Option<ServerTls> {
        let written::ServerTls { client_ca_file, client_certificates, client_crl_files, .. } =
            written;
        let clients = match client_ca_file {
            Some(file) => {
                let at_ca = under(at, "client_ca_file");
                if access == Access::Open && !self.layers.broken(at) {
                    let message = "this listener is open and asks nobody who it is";
                    let fault = self.layers.fault(&at_ca, message);
                    self.faults.push(fault.help("certificates go with `access = \"clients\"`"));
                }
                let crl_files = client_crl_files.iter().enumerate();
                let crl_at = under(at, "client_crl_files");
                let crl_files = crl_files
                    .map(|(index, file)| self.path(&under(&crl_at, &index.to_string()), file));
                let crl_files = crl_files.collect();
                let certificates = client_certificates.unwrap_or_default();
                Some(ClientTls { ca_file: self.path(&at_ca, &file), certificates, crl_files })
            }
            None => {
                let rest = [
                    ("client_certificates", client_certificates.is_some()),
                    ("client_crl_files", !client_crl_files.is_empty()),
                ];
                for (key, _) in rest.iter().filter(|(_, is_there)| *is_there) {
                    let message = "without `client_ca_file` no certificate is asked for";
                    self.fault(&under(at, key), message);
                }
                None
            }
        };
        let certificate = self.path(&under(at, "certificate"), &written.certificate?);
        let key = self.path(&under(at, "key"), &written.key?);
        Some(ServerTls { certificate, key, clients })
    }

    fn clash(&mut self, at: &str, listener: &Listener, others: &[Listener]) {
        let other = others.iter().find(|other| other.address.clashes(&listener.address));
        if let Some(other) = other {
            let message = format!("listener `{}` has this address already", other.name);
            self.fault(&under(at, "address"), message);
        }
    }
}

impl Listener {
    /// By what of a client's this listener can tell that it is the client.
    pub fn ways(&self, client: &Client) -> Ways {
        let asks_for_certificates = self.tls.as_ref().is_some_and(|tls| tls.clients.is_some());
        Ways {
            keys: !client.keys.is_empty(),
            tokens: !client.tokens.is_empty(),
            certificates: asks_for_certificates && !client.certificates.is_empty(),
            // The process of a proxy is nobody's who calls through it.
            unix: matches!(self.address, Address::Unix(_) | Address::Inherited(_))
                && self.proxies.is_none()
                && !client.unix.is_empty(),
        }
    }
}
