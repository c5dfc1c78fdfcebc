//! Where an address is and whose network it belongs to: MaxMind databases.

use super::{Answer, TableError};
use event::Kind;
use maxminddb::{Reader, geoip2};
use std::net::IpAddr;
use std::path::Path;

#[derive(Default)]
pub(super) struct Geo {
    readers: Vec<(Reader<Vec<u8>>, bool)>,
}

impl Geo {
    pub(super) fn is_empty(&self) -> bool {
        self.readers.is_empty()
    }

    pub(super) fn add(&mut self, path: &Path, bytes: Vec<u8>) -> Result<(), TableError> {
        let wrong = |e: maxminddb::MaxMindDbError| TableError {
            path: path.into(),
            line: None,
            message: format!(
                "not a usable MaxMind database: {e}; download it again, or take it out of `mmdb`"
            ),
        };
        let reader = Reader::from_source(bytes).map_err(wrong)?;
        reader.verify().map_err(wrong)?;
        let kind = &reader.metadata().database_type;
        let is_network = kind.contains("ASN") || kind.contains("ISP");
        self.readers.push((reader, is_network));
        Ok(())
    }

    /// Everything known of a public address; nothing for others. A record that cannot be decoded
    /// is none.
    pub(super) fn answer(&self, address: IpAddr) -> Answer {
        let mut out = Answer::new();
        if !is_public(address) {
            return out;
        }
        for (reader, is_network) in &self.readers {
            let Ok(found) = reader.lookup(address) else { continue };
            if *is_network {
                if let Ok(Some(asn)) = found.decode::<geoip2::Asn<'_>>() {
                    add_network(&asn, &mut out);
                }
            } else if let Ok(Some(city)) = found.decode::<geoip2::City<'_>>() {
                add_place(&city, &mut out);
            }
        }
        out
    }
}

fn add_network(asn: &geoip2::Asn<'_>, out: &mut Answer) {
    if let Some(number) = asn.autonomous_system_number {
        out.push((".as.number", Kind::Int, number.to_string()));
    }
    if let Some(name) = asn.autonomous_system_organization {
        out.push((".as.organization.name", Kind::Str, name.to_owned()));
    }
}

fn add_place(city: &geoip2::City<'_>, out: &mut Answer) {
    let mut put = |name, text: Option<&str>| {
        if let Some(text) = text {
            out.push((name, Kind::Str, text.to_owned()));
        }
    };
    put(".geo.continent_code", city.continent.code);
    put(".geo.continent_name", city.continent.names.english);
    put(".geo.country_iso_code", city.country.iso_code);
    put(".geo.country_name", city.country.names.english);
    put(".geo.city_name", city.city.names.english);
    put(".geo.postal_code", city.postal.code);
    put(".geo.timezone", city.location.time_zone);
    if let Some(region) = city.subdivisions.first() {
        put(".geo.region_name", region.names.english);
        if let (Some(country), Some(code)) = (city.country.iso_code, region.iso_code) {
            put(".geo.region_iso_code", Some(&format!("{country}-{code}")));
        }
    }
    if let (Some(lat), Some(lon)) = (city.location.latitude, city.location.longitude) {
        put(".geo.location", Some(&format!("{lat},{lon}")));
    }
}

/// Whether an address can be somewhere on the internet.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => {
            let [first, second, ..] = a.octets();
            !(a.is_private()
                || a.is_loopback()
                || a.is_link_local()
                || a.is_unspecified()
                || a.is_multicast()
                || a.is_broadcast()
                || first == 0
                || first == 100 && second & 0xc0 == 64)
        }
        IpAddr::V6(a) => {
            let first = a.segments()[0];
            !(a.is_loopback()
                || a.is_unspecified()
                || a.is_multicast()
                || first & 0xfe00 == 0xfc00
                || first & 0xffc0 == 0xfe80)
        }
    }
}
