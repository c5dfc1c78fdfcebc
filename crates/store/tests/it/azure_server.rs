//! A server that speaks Azure's protocol (Azurite), started by the test.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use store::TierOptions;

const ACCOUNT: &str = "account";
/// "the key of the test" in Base64.
const KEY: &str = "dGhlIGtleSBvZiB0aGUgdGVzdA==";
const CONTAINER: &str = "logs";
/// Makes the container: the one thing that is no business of the store.
const MAKE: &str = r#"
import base64, email.utils, hashlib, hmac, sys, urllib.request
port, account, key, container = sys.argv[1:]
date = email.utils.formatdate(usegmt=True)
resource = f"/{account}/{account}/{container}\nrestype:container"
text = f"PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:2021-08-06\n{resource}"
mac = base64.b64encode(hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest())
request = urllib.request.Request(
    f"http://127.0.0.1:{port}/{account}/{container}?restype=container", method="PUT",
    headers={"x-ms-date": date, "x-ms-version": "2021-08-06",
             "Authorization": f"SharedKey {account}:{mac.decode()}"})
urllib.request.urlopen(request)
"#;

/// The server; ends with it.
pub(crate) struct Azure {
    server: Child,
    port: u16,
}

impl Azure {
    /// None (said on standard output) where it cannot run.
    pub(crate) fn start() -> Option<Azure> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Command::new("azurite-blob")
            .args(["--inMemoryPersistence", "--silent", "--disableTelemetry"])
            .args(["--skipApiVersionCheck", "--blobHost", "127.0.0.1", "--blobPort"])
            .arg(port.to_string())
            .env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{KEY}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut server) = server else {
            println!("skipped: Azure (npm install --global azurite)");
            return None;
        };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(server.try_wait().unwrap().is_none(), "azurite ended");
            assert!(began.elapsed() < Duration::from_secs(60), "azurite does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        let azure = Azure { server, port };
        let made = Command::new("python3")
            .args(["-c", MAKE, &port.to_string(), ACCOUNT, KEY, CONTAINER])
            .status();
        match made {
            Ok(status) => assert!(status.success(), "the container is not made"),
            Err(_) => {
                println!("skipped: Azure (python3 is missing)");
                return None;
            }
        }
        Some(azure)
    }

    pub(crate) fn options(&self, credentials: &Path, prefix: &str) -> TierOptions {
        use std::os::unix::fs::PermissionsExt;
        let text =
            format!("AZURE_STORAGE_ACCOUNT_NAME={ACCOUNT}\nAZURE_STORAGE_ACCOUNT_KEY={KEY}\n");
        std::fs::write(credentials, text).unwrap();
        std::fs::set_permissions(credentials, std::fs::Permissions::from_mode(0o600)).unwrap();
        TierOptions {
            endpoint: Some(format!("http://127.0.0.1:{}/{ACCOUNT}", self.port)),
            allow_http: true,
            credentials: Some(credentials.to_owned()),
            request_timeout: Duration::from_secs(20),
            ..TierOptions::new(format!("az://{CONTAINER}/{prefix}"))
        }
    }
}

impl Drop for Azure {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
