//! Authentication by JSON Web Tokens: which tokens are refused, and that a refusal tells nothing of them.
#![cfg(feature = "jwt")]

mod routes;
mod signer;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use callboard_room_supervisor::{AuthData, PeerId};
use callboard_signaling::jwt::{JwtError, JwtKeyError, JwtVerifier};
use serde_json::{Value, json};
use signer::{Signer, part, pem};

/// Seconds since 1970 at which the tokens are verified.
const NOW: u64 = 1_800_000_000;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn claims() -> Value {
    json!({ "sub": "ann", "iss": "login", "aud": "game", "exp": NOW + 60, "level": 3 })
}

/// Returns the claims of a good token, with one replaced; null removes it.
fn with(claim: &str, value: Value) -> Value {
    let mut claims = claims();
    match value {
        Value::Null => _ = claims.as_object_mut().expect("an object").remove(claim),
        value => claims[claim] = value,
    }
    claims
}

fn strict(verifier: JwtVerifier) -> JwtVerifier {
    verifier.issuer("login").audience("game").require("level").leeway(Duration::ZERO)
}

#[test]
fn a_good_token_of_each_algorithm_is_accepted() {
    for signer in Signer::all() {
        let verified = strict(signer.verifier()).verify_at(&signer.token(&claims()), at(NOW));

        let verified = verified.unwrap_or_else(|error| panic!("{}: {error}", signer.algorithm()));
        assert_eq!((verified.subject(), verified.get("level")), ("ann", Some(&json!(3))));
        assert_eq!(verified.valid_for(at(NOW)), Duration::from_secs(60));
        assert_eq!(verified.valid_for(at(NOW + 90)), Duration::ZERO);
        assert_eq!(verified.peer_init(()).public, *json!({ "sub": "ann" }).as_object().unwrap());
    }
}

/// Those of RFC 7515 (appendix A.1 to A.3) and of RFC 8037 (A.4); they have no `sub`, and the last no claims at all.
#[test]
fn the_tokens_of_the_rfcs_have_good_signatures() {
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).expect("base64url");
    let hs256 = JwtVerifier::hs256(&decode(RFC_SECRET)).expect("a good secret");
    let rs256 = [RSA_PREFIX, &decode(RFC_MODULUS), RSA_SUFFIX].concat();
    let es256 = [P256_PREFIX, &decode(RFC_X), &decode(RFC_Y)].concat();
    let eddsa = [ED25519_PREFIX, &decode(RFC_ED25519)].concat();
    let missing = JwtError::MissingClaim("sub".into());
    for (verifier, header, claims, signature, error) in [
        (hs256, RFC_HS256_HEADER, RFC_CLAIMS, RFC_HS256, missing.clone()),
        (
            JwtVerifier::rs256(&pem(&rs256)).expect("RSA"),
            RFC_RS256_HEADER,
            RFC_CLAIMS,
            RFC_RS256,
            missing.clone(),
        ),
        (
            JwtVerifier::es256(&pem(&es256)).expect("P-256"),
            RFC_ES256_HEADER,
            RFC_CLAIMS,
            RFC_ES256,
            missing,
        ),
        (
            JwtVerifier::eddsa(&pem(&eddsa)).expect("Ed25519"),
            RFC_EDDSA_HEADER,
            RFC_EDDSA_PAYLOAD,
            RFC_EDDSA,
            JwtError::Malformed,
        ),
    ] {
        let verified = |signature: &str| {
            verifier.verify_at(&format!("{header}.{claims}.{signature}"), at(1_300_819_000))
        };
        assert_eq!(verified(signature), Err(error), "{verifier:?}");
        assert_eq!(
            verified(&signature.replacen(char::is_uppercase, "a", 1)),
            Err(JwtError::Signature)
        );
    }
}

#[test]
fn claims_that_do_not_suit_are_refused() {
    let missing = |claim: &str| JwtError::MissingClaim(claim.into());
    let invalid = |claim: &str| JwtError::InvalidClaim(claim.into());
    let [signer, ..] = Signer::all();
    let verifier = strict(signer.verifier());
    for (claim, value, error) in [
        ("exp", json!(NOW), JwtError::Expired),
        ("exp", json!(NOW as f64 - 0.5), JwtError::Expired),
        ("exp", json!(0), JwtError::Expired),
        ("exp", json!(-1), invalid("exp")),
        ("exp", json!(1e300), invalid("exp")),
        ("exp", json!(u64::MAX), invalid("exp")),
        ("exp", json!("tomorrow"), invalid("exp")),
        ("exp", json!([NOW + 60]), invalid("exp")),
        ("exp", Value::Null, missing("exp")),
        ("nbf", json!(NOW + 1), JwtError::NotYetValid),
        ("nbf", json!("soon"), invalid("nbf")),
        ("aud", json!("chat"), JwtError::Audience),
        ("aud", json!("Game"), JwtError::Audience),
        ("aud", json!(["chat", "mail"]), JwtError::Audience),
        ("aud", json!([]), JwtError::Audience),
        ("aud", json!([["game"]]), JwtError::Audience),
        ("aud", json!({ "game": true }), invalid("aud")),
        ("aud", Value::Null, missing("aud")),
        ("iss", json!("evil"), JwtError::Issuer),
        ("iss", json!(["login"]), invalid("iss")),
        ("iss", Value::Null, missing("iss")),
        ("sub", json!(7), invalid("sub")),
        ("sub", Value::Null, missing("sub")),
        ("level", Value::Null, missing("level")),
    ] {
        let token = signer.token(&with(claim, value.clone()));
        assert_eq!(verifier.verify_at(&token, at(NOW)), Err(error), "{claim}: {value}");
    }
    for (claim, value) in [
        ("exp", json!(NOW as f64 + 0.5)),
        ("exp", json!(253_402_300_799_u64)),
        ("nbf", json!(NOW)),
        ("aud", json!(["chat", "game"])),
    ] {
        let token = signer.token(&with(claim, value.clone()));
        assert!(verifier.verify_at(&token, at(NOW)).is_ok(), "{claim}: {value}");
    }
    let null =
        json!({ "sub": "ann", "iss": "login", "aud": "game", "exp": NOW + 60, "level": null });
    assert_eq!(verifier.verify_at(&signer.token(&null), at(NOW)), Err(missing("level")));
}

#[test]
fn clocks_may_differ_by_the_leeway_and_no_more() {
    let [signer, ..] = Signer::all();
    let verifier = signer.verifier().audience("game").leeway(Duration::from_secs(10));
    let token = signer.token(&with("nbf", json!(NOW)));
    let at_time = |seconds| verifier.verify_at(&token, at(seconds)).map(|_| ());

    assert_eq!(at_time(NOW - 11), Err(JwtError::NotYetValid));
    assert_eq!(at_time(NOW - 10), Ok(()));
    assert_eq!(at_time(NOW + 69), Ok(()));
    assert_eq!(at_time(NOW + 70), Err(JwtError::Expired));
}

#[test]
fn a_token_for_some_audience_is_refused_where_none_is_set() {
    let [signer, ..] = Signer::all();
    let verify = |claims: Value| signer.verifier().verify_at(&signer.token(&claims), at(NOW));

    assert_eq!(verify(claims()), Err(JwtError::Audience));
    assert!(verify(with("aud", Value::Null)).is_ok());
}

#[test]
fn the_algorithm_is_the_verifiers() {
    let [hs256, rs256, es256, eddsa] = Signer::all();
    let unsigned = |alg: &str| {
        let header = part(json!({ "alg": alg, "typ": "JWT" }).to_string());
        format!("{header}.{}.", part(claims().to_string()))
    };
    // The public key is no secret: a token that is signed with it by HS256 must be refused.
    let key = rs256.public_key();
    let confused = Signer::Hs256(key.clone().into_bytes());
    for (case, verifier, token, error) in [
        ("none", &rs256, unsigned("none"), JwtError::Algorithm),
        ("None", &rs256, unsigned("None"), JwtError::Algorithm),
        ("none for a secret", &hs256, unsigned("none"), JwtError::Algorithm),
        ("no signature", &rs256, unsigned("RS256"), JwtError::Signature),
        ("no HMAC", &hs256, unsigned("HS256"), JwtError::Signature),
        ("the public key as a secret", &rs256, confused.token(&claims()), JwtError::Algorithm),
        (
            "HMAC called RS256",
            &rs256,
            confused.token_with(&json!({ "alg": "RS256" }), &claims()),
            JwtError::Signature,
        ),
        ("ES256 for RS256", &rs256, es256.token(&claims()), JwtError::Algorithm),
        (
            "EdDSA called ES256",
            &es256,
            eddsa.token_with(&json!({ "alg": "ES256" }), &claims()),
            JwtError::Signature,
        ),
        (
            "no algorithm",
            &hs256,
            hs256.token_with(&json!({ "typ": "JWT" }), &claims()),
            JwtError::Malformed,
        ),
        (
            "a list of algorithms",
            &hs256,
            hs256.token_with(&json!({ "alg": ["HS256"] }), &claims()),
            JwtError::Malformed,
        ),
        (
            "a critical header",
            &hs256,
            hs256.token_with(&json!({ "alg": "HS256", "crit": ["b64"], "b64": true }), &claims()),
            JwtError::Malformed,
        ),
    ] {
        assert_eq!(strict(verifier.verifier()).verify_at(&token, at(NOW)), Err(error), "{case}");
    }
}

#[test]
fn a_key_in_the_token_is_not_used() {
    let [_, ours, ..] = Signer::all();
    let [_, theirs, ..] = Signer::all();
    let header = json!({ "alg": "RS256", "jwk": { "kty": "RSA" }, "jku": "https://evil.example", "kid": "../key" });

    let forged = theirs.token_with(&header, &claims());
    let genuine = ours.token_with(&header, &claims());

    assert_eq!(strict(ours.verifier()).verify_at(&forged, at(NOW)), Err(JwtError::Signature));
    assert!(strict(ours.verifier()).verify_at(&genuine, at(NOW)).is_ok());
}

/// Each text that differs in one letter, or lacks an end, is refused.
#[test]
fn no_letter_of_a_token_may_change() {
    for signer in Signer::all() {
        let (verifier, token) = (strict(signer.verifier()), signer.token(&claims()));
        assert!(verifier.verify_at(&token, at(NOW)).is_ok());
        for place in 0..token.len() {
            for other in ["A", "_", ".", "=", " ", "é", ""] {
                let changed = format!("{}{other}{}", &token[..place], &token[place + 1..]);
                let same = changed == token;
                assert_eq!(verifier.verify_at(&changed, at(NOW)).is_ok(), same, "{changed}");
            }
            assert!(verifier.verify_at(&token[..place], at(NOW)).is_err(), "{}", &token[..place]);
        }
        for appended in ["=", ".", "A", "\n", ".e30"] {
            assert!(verifier.verify_at(&format!("{token}{appended}"), at(NOW)).is_err());
        }
    }
}

#[test]
fn garbage_and_huge_tokens_are_refused() {
    let [signer, ..] = Signer::all();
    let verifier = strict(signer.verifier());
    let header = part(r#"{"alg":"HS256"}"#);
    let deep = part("[".repeat(4_000));
    for token in [
        "".to_owned(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        "é.é.é".to_owned(),
        "a.b.c".to_owned(),
        format!("{header}..{}", part("x")),
        signer.sign(&format!("{header}.{}", part("no JSON"))),
        signer.sign(&format!("{header}.{}", part("[1]"))),
        signer.sign(&format!("{header}.{deep}")),
        signer.sign(&format!("{header}.{}.{header}", part(claims().to_string()))),
        format!("{deep}.{header}.{header}"),
    ] {
        assert!(verifier.verify_at(&token, at(NOW)).is_err(), "{token}");
    }
    let huge = signer.token(&with("junk", "x".repeat(8 * 1024).into()));
    assert_eq!(verifier.verify_at(&huge, at(NOW)), Err(JwtError::TooLong));
    let auth = AuthData::new(PeerId::random());
    assert_eq!(verifier.verify(&auth), Err(JwtError::Missing));
}

#[test]
fn keys_that_do_not_suit_are_refused() {
    let [_, rs256, es256, eddsa] = Signer::all();
    let error = |verifier: Result<JwtVerifier, JwtKeyError>| verifier.map(|_| ()).unwrap_err();

    assert_eq!(error(JwtVerifier::hs256(&[7; 31])), JwtKeyError::ShortSecret(31));
    assert_eq!(error(JwtVerifier::rs256("secret")), JwtKeyError::NotPem);
    assert_eq!(error(JwtVerifier::rs256(&es256.public_key())), JwtKeyError::WrongKey);
    assert_eq!(error(JwtVerifier::es256(&eddsa.public_key())), JwtKeyError::WrongKey);
    assert_eq!(error(JwtVerifier::eddsa(&rs256.public_key())), JwtKeyError::WrongKey);
    let off_the_curve = [P256_PREFIX, &[7; 64]].concat();
    assert_eq!(error(JwtVerifier::es256(&pem(&off_the_curve))), JwtKeyError::WrongKey);
    let short = [SHORT_RSA_PREFIX, &[0xff; 128], RSA_SUFFIX].concat();
    assert_eq!(error(JwtVerifier::rs256(&pem(&short))), JwtKeyError::WrongKey);
}

#[test]
fn a_verifier_shows_no_secret() {
    let secret = "a secret that nobody may read: 32";

    let shown = format!("{:?}", JwtVerifier::hs256(secret.as_bytes()).unwrap().audience("game"));

    assert!(shown.contains("HS256") && shown.contains("game"), "{shown}");
    assert!(!shown.contains("nobody") && !shown.contains("97, 32"), "{shown}");
}

/// SubjectPublicKeyInfo of an RSA key of 2,048 bits around its modulus, and of one of 1,024 bits.
const RSA_PREFIX: &[u8] = &[
    0x30, 0x82, 0x01, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01,
    0x01, 0x05, 0x00, 0x03, 0x82, 0x01, 0x0f, 0x00, 0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01,
    0x00,
];
const SHORT_RSA_PREFIX: &[u8] = &[
    0x30, 0x81, 0x9f, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01,
    0x05, 0x00, 0x03, 0x81, 0x8d, 0x00, 0x30, 0x81, 0x89, 0x02, 0x81, 0x81, 0x00,
];
const RSA_SUFFIX: &[u8] = &[0x02, 0x03, 0x01, 0x00, 0x01];
/// The same of a point on P-256, and of a key of Ed25519.
const P256_PREFIX: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];
const ED25519_PREFIX: &[u8] =
    &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

const RFC_SECRET: &str =
    "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
const RFC_CLAIMS: &str = concat!(
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290",
    "Ijp0cnVlfQ",
);
const RFC_HS256_HEADER: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9";
const RFC_HS256: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const RFC_MODULUS: &str = concat!(
    "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL",
    "-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e",
    "-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_",
    "h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
);
const RFC_RS256_HEADER: &str = "eyJhbGciOiJSUzI1NiJ9";
const RFC_RS256: &str = concat!(
    "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9",
    "uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB",
    "_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rq",
    "Vt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
);
const RFC_ES256_HEADER: &str = "eyJhbGciOiJFUzI1NiJ9";
const RFC_X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const RFC_Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
const RFC_ES256: &str =
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
const RFC_EDDSA_HEADER: &str = "eyJhbGciOiJFZERTQSJ9";
const RFC_EDDSA_PAYLOAD: &str = "RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
const RFC_ED25519: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const RFC_EDDSA: &str =
    "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
