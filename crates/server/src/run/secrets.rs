//! The installation's secret: keys the hashes that outsiders must not be able to aim at.

use super::generations::write_synced;
use crate::exit::Failure;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Length of the secret.
pub const SECRET_BYTES: usize = 16;

/// Reads the secret of a data folder, or makes it.
pub fn secret(data_dir: &Path) -> Result<[u8; SECRET_BYTES], Failure> {
    let path = data_dir.join("secret");
    if let Ok(bytes) = std::fs::read(&path) {
        return bytes.try_into().map_err(|_| {
            Failure::invalid(format!("{} is damaged", path.display()), "restore it from a backup")
        });
    }
    let mut secret = [0; SECRET_BYTES];
    getrandom::fill(&mut secret).map_err(|e| Failure::invalid(e, "no random numbers"))?;
    write_synced(&path, &secret)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(secret)
}

/// A name that only this installation has, for one of its parts: 16 hexadecimal digits that tell nothing of the
/// secret.
#[cfg(feature = "kafka")]
pub fn name_of(data_dir: &Path, part: &str) -> Result<String, Failure> {
    use sha2::{Digest, Sha256};
    let hash = Sha256::new().chain_update("name").chain_update(secret(data_dir)?);
    let hash = hash.chain_update(part).finalize();
    Ok(hash[..8].iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Writes a token for verbs on this host, readable by the owner only.
pub fn write_token(path: &Path, token: &str) -> Result<(), Failure> {
    write_synced(path, token.as_bytes())?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(())
}
