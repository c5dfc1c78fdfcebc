//! An ordinary day: benign records from several kinds of source, the same for the same seed.

use super::lines;
use super::story::Door;

/// A small deterministic generator (xorshift): the demo needs variety, not randomness.
pub struct Noise {
    state: u64,
}

const USERS: [&str; 6] = ["anna", "ben", "carla", "deploy", "svc_backup", "emil"];
const HOSTS: [&str; 3] = ["web-01", "db-01", "vpn-01"];
const STATIONS: [&str; 4] =
    ["ws-17.corp.example", "ws-18.corp.example", "ws-21.corp.example", "dc-01.corp.example"];
const OFFICE: [&str; 4] = ["192.0.2.10", "192.0.2.11", "192.0.2.12", "192.0.2.20"];
const SERVICES: [&str; 5] = ["192.0.2.80", "192.0.2.81", "192.0.2.90", "192.0.2.91", "10.20.0.5"];
const PAGES: [&str; 5] = ["/", "/login", "/products?page=2", "/static/app.css", "/api/cart"];

impl Noise {
    /// Noise from a seed (not 0).
    pub fn new(seed: u64) -> Self {
        Self { state: seed.max(1) }
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[(self.next() % from.len() as u64) as usize]
    }

    /// The next benign record and where it goes in.
    pub fn line(&mut self, now_ns: i64) -> (Door, String) {
        match self.next() % 100 {
            0..35 => (Door::Syslog, self.web(now_ns)),
            35..50 => (Door::Syslog, self.linux(now_ns)),
            50..58 => (Door::Syslog, self.firewall(now_ns)),
            58..78 => (Door::Http, self.process(now_ns)),
            78..92 => (Door::Http, self.connection(now_ns)),
            92..97 => (Door::Http, self.logon(now_ns)),
            _ => (Door::Http, self.cloud(now_ns)),
        }
    }

    fn web(&mut self, now_ns: i64) -> String {
        let client = format!("192.0.2.{}", 100 + self.next() % 100);
        let request = format!("GET {} HTTP/1.1", self.pick(&PAGES));
        let text = lines::nginx(now_ns, &client, &request, 200, "Mozilla/5.0 (X11; Linux x86_64)");
        lines::syslog(now_ns, 190, "web-01", "nginx", &text)
    }

    fn linux(&mut self, now_ns: i64) -> String {
        let host = self.pick(&HOSTS);
        match self.next() % 4 {
            0 => {
                let (user, from) = (self.pick(&USERS[..3]), self.pick(&OFFICE));
                let text = format!("Accepted publickey for {user} from {from} port 51000 ssh2");
                lines::syslog(now_ns, 38, host, "sshd[811]", &text)
            }
            1 => {
                // People mistype; nobody does so five times in a row here.
                let (user, from) = (self.pick(&["hans", "olga", "petra"]), self.pick(&OFFICE));
                let port = 40_000 + self.next() % 20_000;
                match self.next() % 12 {
                    0 => {
                        let text =
                            format!("Failed password for {user} from {from} port {port} ssh2");
                        lines::syslog(now_ns, 38, host, "sshd[815]", &text)
                    }
                    _ => {
                        let text = format!("Received disconnect from {from} port {port}:11: bye");
                        lines::syslog(now_ns, 38, host, "sshd[815]", &text)
                    }
                }
            }
            2 => {
                let text = "(root) CMD (command -v debian-sa1 > /dev/null && debian-sa1 1 1)";
                lines::syslog(now_ns, 78, host, "CRON[4711]", text)
            }
            _ => {
                let text = "pam_unix(cron:session): session closed for user root";
                lines::syslog(now_ns, 86, host, "CRON[4711]", text)
            }
        }
    }

    fn firewall(&mut self, now_ns: i64) -> String {
        let from = format!("198.18.{}.{}", self.next() % 256, self.next() % 256);
        let port = [22, 23, 445, 3389][(self.next() % 4) as usize];
        lines::iptables(now_ns, "vpn-01", &from, "192.0.2.1", port)
    }

    fn process(&mut self, now_ns: i64) -> String {
        let (image, command_line) = [
            (r"C:\Windows\System32\svchost.exe", "svchost.exe -k netsvcs -p -s Schedule"),
            (r"C:\Program Files\Git\cmd\git.exe", "git fetch --all"),
            (r"C:\Windows\explorer.exe", "explorer.exe"),
            (r"C:\Program Files\Mozilla Firefox\firefox.exe", "firefox.exe -contentproc"),
        ][(self.next() % 4) as usize];
        let (host, user) = (self.pick(&STATIONS), self.pick(&USERS));
        let parent = r"C:\Windows\System32\services.exe";
        lines::sysmon_process(now_ns, host, user, image, command_line, parent)
    }

    fn connection(&mut self, now_ns: i64) -> String {
        let image = r"C:\Program Files\Mozilla Firefox\firefox.exe";
        let (host, user) = (self.pick(&STATIONS), self.pick(&USERS));
        let to = self.pick(&SERVICES);
        lines::sysmon_connection(now_ns, host, user, image, to, 443)
    }

    fn logon(&mut self, now_ns: i64) -> String {
        let (host, user) = (self.pick(&STATIONS), self.pick(&USERS));
        lines::windows_logon(now_ns, host, user, "192.0.2.10", 3)
    }

    fn cloud(&mut self, now_ns: i64) -> String {
        let (name, source) = [
            ("DescribeInstances", "ec2.amazonaws.com"),
            ("GetCallerIdentity", "sts.amazonaws.com"),
            ("ListBuckets", "s3.amazonaws.com"),
        ][(self.next() % 3) as usize];
        let (user, from) = (self.pick(&USERS[..3]), self.pick(&OFFICE));
        lines::cloudtrail(now_ns, user, name, source, from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_day_from_both_doors() {
        let day = |seed| {
            let mut noise = Noise::new(seed);
            (0..500).map(|_| noise.line(1_795_479_240_000_000_000)).collect::<Vec<_>>()
        };
        assert!(day(7) == day(7));
        let doors: Vec<Door> = day(7).into_iter().map(|(d, _)| d).collect();
        assert!(doors.contains(&Door::Syslog) && doors.contains(&Door::Http));
    }
}
