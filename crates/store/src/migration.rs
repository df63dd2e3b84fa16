//! What a ledger lacks, and whether this version may work on it.

use crate::Error;

/// A step from one layout of the ledger to the next.
pub struct Migration {
    /// `NNNN_name`, the same in every database.
    pub name: &'static str,
    /// Its statements.
    pub text: &'static str,
    /// Versions from before it can go on working beside it: it takes nothing away that they use, and asks nothing of what they write.
    pub additive: bool,
}

/// A step that a ledger has taken.
pub struct Applied {
    pub name: String,
    pub additive: bool,
}

/// The steps that a ledger still has to take. A newer version may have taken others meanwhile, as long as this one can live with them.
pub fn lacking(known: &[Migration], applied: &[Applied]) -> Result<Vec<String>, Error> {
    let newer = applied.iter().find(|step| !step.additive && !known.iter().any(|known| known.name == step.name));
    if let Some(Applied { name, .. }) = newer {
        return Err(Error::Refused(format!(
            "the ledger was migrated to {name} by a newer version: start that version, or restore a backup"
        )));
    }
    Ok(known.iter().map(|known| known.name.to_owned()).filter(|name| !applied.iter().any(|step| step.name == *name)).collect())
}
