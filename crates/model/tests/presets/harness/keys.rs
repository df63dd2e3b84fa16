//! Keys of tests, made for nothing else: `openssl genpkey`. In each pair the second is what another sender would have.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::signature::{Algorithm, KeyEncoding, Scheme};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};

const ED25519: [&str; 2] = [
    "MC4CAQAwBQYDK2VwBCIEIGpZkc02d6iUqX6/V7IyRb5TaHTCTFU5dpMbNOvPvmY+",
    "MC4CAQAwBQYDK2VwBCIEIP5V22Ihqr+D6jI3qvX52IvNrqMGGqbsY7iAiUWsGW+3",
];
const P256: [&str; 2] = [
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgbF9cwyeqw9e0oeIZpSnJ50KnHAvNOn4H6v+rUgfmm0ahRANCAATU9Ch0ompPzni0PQteXk9rJ4e6383YebVnU7YASnfb8Ca5z7Skyls/sHY5J1wYjF6bJPTbQPPSnY3TNWkJr1v2",
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgNeu+jkhnooRAJh/qtqUaF6dyhIZYoS4oRw9+YN35C1mhRANCAATCN9InzNMh7poBviqFP/ON/zB0eWTb9df6I93nd14sWn1rU05+rrpojtuA2FSsvZ69Af2UnpzN+Abqz0MM1x0w",
];
const RSA: [&str; 2] = [
    "MIIEvAIBADANBgkqhkiG9w0BAQEFAASCBKYwggSiAgEAAoIBAQCddSApyZoX1rmdJU23E11xVgTe/sejZUP+64qgb0UtFKudvQT0hy7ife9sDouC4dEYZ2RfzMIdm6IT3kDsUy15ViWztaoqMHUd51aLgg3xRWAFWPJJ46j3oy04IbyyBGMSH7TsbHe3BGy1Dnp26YdcVsLA5j1chPpA0XMiZoRaNEi9FdMbaFNVDNq+g43rYrulslaoqj8g4UYqSYiAqlUBn6/nrGcLC38d0iMykmNUwcXDVDXteHtYolworFD+k4TJ2dMv8fXc3wF+mp7/hlsrmEuOyfJie7wKWKNxCYzE/bUDm8+CzRlTpjeuYrlNDclNo/LaQkc+HW5jxCPsNiizAgMBAAECggEADH3/5MDVZGHJTSHqBgXXyoegEE8XaKu+lsl6MJtTWi3DJdsauwnEmvyR07ldsS8YRz7gtEcK+Y1g8QGXlghNWcyPZjAaBYndqNczQxM45vTxlssFQf55Z9g+3K60iU0WzRfN41oBr3f+5eh1p9yEPDu37NT3dlEoh572avrGMl/GiP0tgF5cEJae0kr8hUQt9+IdZjX9RKJOe7ngZ4/l6m4ye6TxgeOuwcHjXW2r8Gq/XzuvnfSozQs06hn18L5I/ylIBR39itSCWwhlBWwMBmRrOXl4KHubxIQdtWf+qzE/sxcJKXikb0m7X28Sh0LBq3aoE/kkHcD48Q0W0tEdcQKBgQDdZvLUaAJkEQUZiY47KycKOxJOPkCMMdLdZw8CxqdjKN0xVum1nQwe0LLlvcAIHmOAiuP8lXrw227vIPrgsN0pE/Qd5cytHMzPVf5YeMfXQH1ck69AUlpBRgIR4sUO4p5ecf40TDTHMzlEQt1os/NfFrUY+Qatd+2/9CVlUXSLAwKBgQC2EB0DZoYWtLijQFdV8FOPihUgJ+BoI5Y+hFZPM4jRL/mRjbYnuejLZDTS5SaUhKS8nhUMFtzinFE9dBENTjfcRF8D+RQxDV5Hvw/UHLAEn3t0N6eG9a2dt9A+OTpSJ2eXJiwU2WbeTbbL05Urp6/+62oPluBc5k7cykLaR40kkQKBgGhtCTW0BQSrnmsoHSS9OsGxkPXEmO9HBL0Wwda+We8ENCf0ZXEarL/QEcEYmX16z9WuLNBStNTruswhExNteDLKzYZYgAxanCNi3P9foGpfaYGDytIcxaMp4QoMmoNl0eqb+5kxJGecOnN+0i1zSuPbsvkfY83n1gSGpCjAnaZ/AoGATdTrolWFA1X1DQ1niLy57EY6q8mAXOTByS4n+6nrVops5bWwZqFKjRDkqDgAW0OtbVkjZEyt106+SEhDNe33YXn1KKyl3iZ55LAgYyx0bzWCwHc+biq/MwquwrsSXKat2WcfNzaNjIGqoM5uGgCQ86jOaaW1euGWWzs4gzpNc5ECgYBvDsEvHtAp4tHA8gbQnWEBPDNPSYIiie0pI6uHd/OtQZXDE2ZGgqLmZUic++O9Sup4y9KSpR43VNaolgtH53rB7G4tt7yyAFI8N+tTbxizpyLB7sH+jMbvonRxoeOhZRzgWZbGWB96nEInkxE7uOOC6hRcJWZPPPfh3UCe50b3GQ==",
    "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQCxqQHBvUPyCTFPPdfhojVBjtXOzMnuiQ5XAwlaVoCVBmBJptpleaez6LgfJWC4Fu89BWfvWFrOCfH31b97raBrVI/uYrbj/2Eno1vNIjVUd210s6X+x/zZs9PRbPY9VPI2yBAX1vWTqxkclkE665g+/uLcOuDChLEW8vZA0EzDDFNpKnWdO2TEzUmhp817KyxB9PtZCIo78JaWI7vGmEdUc9rLhaIqTbYWME53EWOeDVnQt5XhPXvxpdeGOursqA8tluWkLIsscNUfNw1+GRaG0ftEcCnfCaOzpA0Qg38BcX/TsiTVgDqMKttnEjwt0+E69uzk+Lxf0qaSPPW8phQvAgMBAAECggEAAjGKgS2zjY+kfrcjl7hs0j2Pu+kWYy4Tsb+qrrqxBWYElqmLOm6D7g+Pr77CkMijtTarClmmbAh+ZtIfoPN2BBfmsQmh+shX7D6IRHee00dS4CUpsFl1cJYCUFcj5oJKfUz/ZIlLE0LXtrJ6OrPW94wmbpQBhhVPqcS1L/wCaUlpPUz9hJKBSCF7lmI6RtGeKYWaeYgfM+KOtto7ALjdTNQRYdxJ+LMB7Vm8OTJozZjkYe3bu49PccSbCNwFo+2WT54ZvqxBwZNDk9OQSTEJ3dl0FMOV0xc8WPjtg84LvKDgyH/fbsc4gfSsQO+AZ/YFGyYplbGpdWPsOKLMKSaLoQKBgQDX5uYmkkbuqaZfh+nYZh3iAZiHYoov7FrimWyiPdIOZTxZ6lliBYYXN+rvBowkDQ5w7PwDgD4HG5nFhz86fhaSFg+65Cutcfw7+pBuUhiyN00bVw/lhnvsi99h2traNDe70GBtVxf7xD0O3N4RwTMkAuFrVyOHssv788LCe19xDwKBgQDSp+U+JlBqF/URsI2bUpFG8CD5vyZujoOIaJ3V5dScRJMG/hEl8OajV6ei9E0k/SJZoNlChSgOds1wE2yVFM3XMagqjtv6adOD3V6BZ5aZST+cT/rJv2i4F2NIN1OvFNkkH8vb4cDK4ROKHpu5HwizJaY58Me2KYEe+UVgkNTq4QKBgCHsBHNA/mYXP6241BQND1roN0fmQqH+99SsmHXxUqSyYUYbXQnaplPVlFMT60bqyj8R7RK7voMtYf64HkYZc4BmePg7S2WICEKAPtsmiPzPVY0bI8NDWwsyetmMImCwXaVjuxLS4VDMZ2+DYlzVxyw8S6Cq40k53XTruskFy1wfAoGAFMLdUgm+pSYlThADdMpnbQFfjp2rMPw0tG3zGFClap1LjEXf9MhQQsrxx5qiO8IC76htoSO0dfB5gNE5Q1wgiVPoigE4Zu6lHPrlRIWsDwFsFoC/a8DEllgfvc9OHRRF7kx/7/TI5nXWUieAG3eWiOlt/4nedPKUOjRBBSphAaECgYEAwmjB/rGlJEJD8zQi+haCz6Y2yW2S+Lr6X112amVg7iyWevpyvIgTnbSW35S8QiYcGBcSGmpXaiqjZMKUs+rkd3OZskS7Omj4vYX34N94kq4K+fhkLZbKEz3AR9giFNXRlt1GbtJJ0lbJyC+/6N56Xeuq6K90rU7QVQx0xl2uaVk=",
];
/// The public key that belongs to the first, as `SubjectPublicKeyInfo` in base64.
pub const ED25519_PUBLIC: &str = "MCowBQYDK2VwAyEAVRrccjCWMuLTjDRW+lmJ2VwId4eVffMUF2eL3E/baYw=";
/// The public key that belongs to the first, as `SubjectPublicKeyInfo` in base64.
pub const P256_PUBLIC: &str =
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE1PQodKJqT854tD0LXl5PayeHut/N2Hm1Z1O2AEp32/Amuc+0pMpbP7B2OSdcGIxemyT020Dz0p2N0zVpCa9b9g==";
/// The public key that belongs to the first, as `SubjectPublicKeyInfo` in base64.
pub const RSA_PUBLIC: &str = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAnXUgKcmaF9a5nSVNtxNdcVYE3v7Ho2VD/uuKoG9FLRSrnb0E9Icu4n3vbA6LguHRGGdkX8zCHZuiE95A7FMteVYls7WqKjB1HedWi4IN8UVgBVjySeOo96MtOCG8sgRjEh+07Gx3twRstQ56dumHXFbCwOY9XIT6QNFzImaEWjRIvRXTG2hTVQzavoON62K7pbJWqKo/IOFGKkmIgKpVAZ+v56xnCwt/HdIjMpJjVMHFw1Q17Xh7WKJcKKxQ/pOEydnTL/H13N8Bfpqe/4ZbK5hLjsnyYnu8ClijcQmMxP21A5vPgs0ZU6Y3rmK5TQ3JTaPy2kJHPh1uY8Qj7DYoswIDAQAB";
/// A certificate of the first RSA key, without its frame.
pub const RSA_CERTIFICATE: &str = "MIIDGTCCAgGgAwIBAgIUTdgypMfX8AiLjSAQSvMR6/1Yd98wDQYJKoZIhvcNAQELBQAwGzEZMBcGA1UEAwwQdGVzdC5leGFtcGxlLmNvbTAgFw0yNjExMjMwNDM1MjJaGA8yMTI2MTAzMDA0MzUyMlowGzEZMBcGA1UEAwwQdGVzdC5leGFtcGxlLmNvbTCCASIwDQYJKoZIhvcNAQEBBQADggEPADCCAQoCggEBAJ11ICnJmhfWuZ0lTbcTXXFWBN7+x6NlQ/7riqBvRS0Uq529BPSHLuJ972wOi4Lh0RhnZF/Mwh2bohPeQOxTLXlWJbO1qiowdR3nVouCDfFFYAVY8knjqPejLTghvLIEYxIftOxsd7cEbLUOenbph1xWwsDmPVyE+kDRcyJmhFo0SL0V0xtoU1UM2r6Djetiu6WyVqiqPyDhRipJiICqVQGfr+esZwsLfx3SIzKSY1TBxcNUNe14e1iiXCisUP6ThMnZ0y/x9dzfAX6anv+GWyuYS47J8mJ7vApYo3EJjMT9tQObz4LNGVOmN65iuU0NyU2j8tpCRz4dbmPEI+w2KLMCAwEAAaNTMFEwHQYDVR0OBBYEFLi+rSjfiFhE9aMemFJzl9M/US5LMB8GA1UdIwQYMBaAFLi+rSjfiFhE9aMemFJzl9M/US5LMA8GA1UdEwEB/wQFMAMBAf8wDQYJKoZIhvcNAQELBQADggEBAERgvuX3+PcaOgTs5GO2xy7GOLUlI9ym7OIIkM7JbLjF2EtxPHW3Xj9KcEfOaK9Z7g88KdVM9K31Bxs37bOt/w5BDaQbsv7vudXJ0tunzd5UilP/y/8Gg1d38/iKlWa1ujuFzgWs0fCGPF9Vif8+/01WRtyzv2cvKMfCbAQ+LL9BxzNSSmldEozhu+Xu5ZJkKMj5pRWgvZGNcIBlLRU6PDljym0WTLMTO5b7oQ8mfQYQd3UricZAz+2RsNHi162nhplokBdxBt4WmFZYVPN15LaHMTsota7vbeYCUwSBp8vLcMAmtd5BUy7okM/+xPivK7krz1gnAHJljZmgf0wzZx8=";

fn der(text: &str) -> Vec<u8> {
    STANDARD.decode(text).unwrap()
}

/// A text between the lines that PEM has around it.
pub fn pem(kind: &str, base64: &str) -> String {
    let lines: Vec<&str> = base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----", lines.join("\n"))
}

/// The last 32 bytes of the Ed25519 key, in hex: what Discord shows.
pub fn ed25519_public_hex() -> String {
    let key = der(ED25519_PUBLIC);
    hex::encode(&key[key.len() - 32..])
}

/// A signature by the first Ed25519 key.
pub fn ed25519(text: &[u8]) -> Vec<u8> {
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der(ED25519[0])).unwrap().sign(text).as_ref().to_vec()
}

/// A signature by the first P-256 key, in DER.
pub fn p256(text: &[u8]) -> Vec<u8> {
    let chance = SystemRandom::new();
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der(P256[0]), &chance)
        .unwrap()
        .sign(&chance, text)
        .unwrap()
        .as_ref()
        .to_vec()
}

/// A signature by the first RSA key, PKCS #1 v1.5 with SHA-256.
pub fn rsa_sha256(text: &[u8]) -> Vec<u8> {
    let key = RsaKeyPair::from_pkcs8(&der(RSA[0])).unwrap();
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut signature).unwrap();
    signature
}

/// A private key for a scheme with public keys, written as the scheme says: the first, or what another sender would have.
pub fn private(scheme: &Scheme, other: bool) -> Option<String> {
    let kinds = [(Algorithm::Ed25519, ED25519), (Algorithm::EcdsaP256Sha256, P256), (Algorithm::RsaSha1, RSA), (Algorithm::RsaSha256, RSA)];
    let public = |algorithm: Algorithm| kinds.iter().find(|(held, _)| *held == algorithm).map(|(_, keys)| *keys);
    let named = scheme.jwt.as_ref().and_then(|jwt| jwt.algorithms.first()).map(String::as_str);
    let keys = public(scheme.algorithm).or(match named {
        Some("RS256") => Some(RSA),
        Some("ES256") => Some(P256),
        Some("EdDSA") => Some(ED25519),
        Some(_) | None => None,
    })?;
    let key = keys[usize::from(other)];
    Some(match scheme.key {
        KeyEncoding::Hex => hex::encode(der(key)),
        KeyEncoding::Pem => pem("PRIVATE KEY", key),
        KeyEncoding::Utf8 | KeyEncoding::Base64 | KeyEncoding::Sha1 => key.to_owned(),
    })
}
