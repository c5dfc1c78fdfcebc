//! `cidr`: the value is an address of the network.

use super::Modifier;
use crate::sigma::item::{Item, Val};
use crate::sigma::problem::Refusal;
use ipnet::IpNet;
use std::net::IpAddr;

pub(super) struct Cidr;

impl Modifier for Cidr {
    fn name(&self) -> &'static str {
        "cidr"
    }

    fn apply(&self, item: &mut Item) -> Result<(), Refusal> {
        item.must_be_first("cidr")?;
        item.map(|value| match &value {
            Val::Text { raw, .. } => network(raw).map(Val::Cidr).ok_or_else(|| {
                let shown: String = raw.chars().take(80).collect();
                Refusal::invalid(format!("`{shown}` is not a network"), "write 10.0.0.0/8")
            }),
            _ => Err(Refusal::invalid("`cidr` needs text", "write 10.0.0.0/8")),
        })
    }
}

/// A network; set host bits are dropped, an address alone is a network of one, and IPv4 written as
/// mapped IPv6 becomes IPv4 as addresses do when they are compared.
fn network(text: &str) -> Option<IpNet> {
    let text = text.trim();
    let net: IpNet = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))?;
    let net = match net.addr().to_canonical() {
        ip if ip.is_ipv4() == net.addr().is_ipv4() => net,
        ip => IpNet::new(ip, net.prefix_len().checked_sub(96)?).ok()?,
    };
    Some(net.trunc())
}
