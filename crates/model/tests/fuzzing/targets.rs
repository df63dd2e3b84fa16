//! What a fuzzer drives: bytes of a stranger's choice against every preset. Shared by the bounded run beside this file and by `fuzz/`.

use std::sync::LazyLock;

use model::handshake::Handshaken;
use model::mapping::ReadContext;
use model::preset::presets;
use model::seal::{SealingKey, SealingKeys, pack, unpack};
use model::secret::Secret;
use model::signature::{Algorithm, KeyEncoding, Scheme, Verifier};
use model::source::{Source, SourceDef};
use model::{EventId, RawEventId, Received, Time};

pub const NOW: Time = Time::from_seconds(1_700_000_000);

/// A preset with a key that nobody knows, and with one that its sender has.
pub struct Target {
    pub name: &'static str,
    pub source: Source,
    pub unknown: Verifier,
    pub known: Verifier,
}

/// Every preset that is not disabled.
pub static TARGETS: LazyLock<Vec<Target>> = LazyLock::new(|| presets().filter_map(|(name, _)| target(name)).collect());

fn target(name: &'static str) -> Option<Target> {
    let def = SourceDef { preset: Some(name.to_owned()), ..SourceDef::default() };
    let source = Source::compile(name, &def).ok()?;
    let mut scheme = source.scheme.clone();
    for setting in scheme.signed.clone().unwrap_or_default().split("{setting:").skip(1) {
        scheme.settings.insert(setting.split('}').next().unwrap().to_owned(), "a setting".to_owned());
    }
    let compile = |byte: u8| {
        let secret = Secret::for_vectors(&secret(&scheme, byte));
        let url = format!("https://hooks.example.com/webhooks/{name}");
        scheme.compile(&[secret], Some(&url)).unwrap_or_else(|problems| panic!("{name}: {problems:?}"))
    };
    Some(Target { name, unknown: compile(0xb7), known: compile(0x31), source })
}

/// A secret of 32 bytes as the scheme has it written; for public keys one whose private half was thrown away.
fn secret(scheme: &Scheme, byte: u8) -> String {
    use base64::Engine as _;
    const ED25519: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    const P256: &str =
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==";
    const RSA: &str = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAnXUgKcmaF9a5nSVNtxNdcVYE3v7Ho2VD/uuKoG9FLRSrnb0E9Icu4n3vbA6LguHRGGdkX8zCHZuiE95A7FMteVYls7WqKjB1HedWi4IN8UVgBVjySeOo96MtOCG8sgRjEh+07Gx3twRstQ56dumHXFbCwOY9XIT6QNFzImaEWjRIvRXTG2hTVQzavoON62K7pbJWqKo/IOFGKkmIgKpVAZ+v56xnCwt/HdIjMpJjVMHFw1Q17Xh7WKJcKKxQ/pOEydnTL/H13N8Bfpqe/4ZbK5hLjsnyYnu8ClijcQmMxP21A5vPgs0ZU6Y3rmK5TQ3JTaPy2kJHPh1uY8Qj7DYoswIDAQAB";
    let named = scheme.jwt.as_ref().and_then(|jwt| jwt.algorithms.first()).map(String::as_str).unwrap_or_default();
    let standard = base64::engine::general_purpose::STANDARD;
    let der = match (scheme.algorithm, named) {
        (Algorithm::Ed25519, _) | (_, "EdDSA") => Some(hex::decode(ED25519).unwrap()),
        (Algorithm::EcdsaP256Sha256, _) | (_, "ES256") => Some(standard.decode(P256).unwrap()),
        (Algorithm::RsaSha1 | Algorithm::RsaSha256, _) | (_, "RS256") => Some(standard.decode(RSA).unwrap()),
        (_, _) => None,
    };
    let bytes = der.unwrap_or_else(|| (0..32).map(|at: u8| at.wrapping_mul(37) ^ byte).collect());
    let prefix = scheme.key_prefix.clone().unwrap_or_default();
    match scheme.key {
        KeyEncoding::Utf8 | KeyEncoding::Sha1 if scheme.algorithm == Algorithm::Basic => format!("user:{}", hex::encode(bytes)),
        KeyEncoding::Utf8 | KeyEncoding::Sha1 => hex::encode(bytes),
        KeyEncoding::Base64 => format!("{prefix}{}", standard.encode(bytes)),
        KeyEncoding::Hex => format!("{prefix}{}", hex::encode(bytes)),
        KeyEncoding::Pem => {
            // A raw Ed25519 key has no PEM of its own.
            let bytes =
                if bytes.len() == 32 { [&hex::decode("302a300506032b6570032100").unwrap(), bytes.as_slice()].concat() } else { bytes };
            format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----", standard.encode(bytes))
        }
    }
}

/// A request from bytes: the method and target in the first line, headers in the next, the body after an empty one.
pub struct Cut {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

impl Cut {
    pub fn of(data: &[u8]) -> Self {
        let at = data.windows(2).position(|pair| pair == b"\n\n");
        let (head, body) = at.map_or((data, &b""[..]), |at| (&data[..at], &data[at + 2..]));
        let mut lines = head.split(|&byte| byte == b'\n');
        let first = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
        let (method, target) = first.split_once(' ').unwrap_or(("POST", &first));
        let header = |line: &[u8]| {
            let at = line.iter().position(|&byte| byte == b':')?;
            Some((String::from_utf8_lossy(&line[..at]).to_lowercase(), line[at + 1..].trim_ascii().to_vec()))
        };
        Self { method: method.to_owned(), target: target.to_owned(), headers: lines.filter_map(header).collect(), body: body.to_vec() }
    }

    pub fn received(&self) -> Received<'_> {
        Received { method: &self.method, target: &self.target, headers: &self.headers, body: &self.body }
    }

    /// The bytes that cut to this.
    pub fn glued(&self) -> Vec<u8> {
        let mut data = format!("{} {}\n", self.method, self.target).into_bytes();
        for (name, value) in &self.headers {
            data.extend_from_slice(name.as_bytes());
            data.extend_from_slice(b": ");
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        data.push(b'\n');
        data.extend_from_slice(&self.body);
        data
    }
}

/// No panic, and nothing is taken that was not signed with the key.
pub fn signature(data: &[u8]) {
    let cut = Cut::of(data);
    let request = cut.received();
    for target in TARGETS.iter() {
        let name = target.name;
        match target.unknown.verify(&request, NOW) {
            Ok(verified) => panic!("{name} took a request without the key: {verified:?}"),
            Err(rejection) => {
                let said = target.unknown.diagnose(&request, rejection, NOW);
                assert!(said.len() < 4096, "{name}: {said}");
            }
        }
        let _ = target.known.verify(&request, NOW);
        if let Some(handshake) = &target.source.handshake {
            let handshaken = handshake.answer(&request, &target.unknown, NOW);
            assert!(!matches!(handshaken, Handshaken::Visit(_)), "{name}: an address is to be visited because a stranger says so");
        }
    }
}

/// No panic, and a bounded answer, however a body is built.
pub fn mapping(data: &[u8]) {
    let cut = Cut::of(data);
    let request = cut.received();
    let hash_key = SealingKeys::new(vec![SealingKey::new(&[7; 32])]).unwrap().hash_key("events");
    for target in TARGETS.iter() {
        let mut next = 0;
        let mut event_id = || {
            next += 1;
            EventId(next)
        };
        let mut context = ReadContext {
            received_at: NOW,
            raw_event: RawEventId(41),
            correlation_id: "c0ffee",
            signed_headers: &[],
            hash_key: &hash_key,
            event_id: &mut event_id,
        };
        assert!(target.source.read(&request, &mut context).len() <= 10_000, "{}", target.name);
    }
}

/// What is framed reads back as it was, and what only looks framed does no harm.
pub fn framing(data: &[u8]) {
    if let Ok(kept) = unpack(data) {
        let _ = kept.received();
    }
    let cut = Cut::of(data);
    let packed = pack(&cut.received());
    let kept = unpack(&packed).unwrap();
    assert_eq!(kept.received().body, cut.body);
    assert_eq!(kept.received().target, cut.target);
    for end in [packed.len() / 2, packed.len().saturating_sub(1)] {
        let _ = unpack(&packed[..end]);
    }
}
