//! Makes the lists of presets from the files in `presets/`: a vendor or a CRM is added by adding its files.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let presets = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../presets").canonicalize()?;
    let (sources, samples) = (presets.join("sources"), presets.join("samples"));
    println!("cargo::rerun-if-changed={}", sources.display());
    println!("cargo::rerun-if-changed={}", samples.display());
    let samples = files(&samples)?;
    let mut list = String::from("const PRESETS: &[(&str, &str, Sample)] = &[\n");
    for source in files(&sources)? {
        let name = stem(&source);
        let Some(sample) = samples.iter().find(|sample| stem(sample) == name) else {
            return Err(format!(
                "the preset {} has no sample: add presets/samples/{name}.json (or .form, .multipart, .xml)",
                source.display()
            )
            .into());
        };
        let kind = sample.extension().map(|kind| kind.to_string_lossy()).unwrap_or_default();
        writeln!(list, "    ({name:?}, include_str!({source:?}), Sample {{ kind: {kind:?}, body: include_bytes!({sample:?}) }}),")?;
    }
    list.push_str("];\n");
    let crms = presets.join("crms");
    println!("cargo::rerun-if-changed={}", crms.display());
    list.push_str("/// Field maps of CRMs: connector kind and file.\npub(crate) const CRM_PRESETS: &[(&str, &str)] = &[\n");
    for crm in files(&crms)? {
        writeln!(list, "    ({:?}, include_str!({crm:?})),", stem(&crm))?;
    }
    list.push_str("];\n");
    fs::write(Path::new(&env::var("OUT_DIR")?).join("presets.rs"), list)?;
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    files.sort();
    Ok(files)
}

fn stem(file: &Path) -> String {
    file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}
