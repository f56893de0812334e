//! Route that serves `callboard.js`, the client for browsers.

use std::hash::{DefaultHasher, Hash, Hasher};

use actix_web::HttpResponse;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, ETag, EntityTag, IfNoneMatch, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::web::{self, Header, ServiceConfig};

/// Serves the client for browsers, one ES module without dependencies, at this path:
/// `App::new().configure(client_script("/callboard.js"))`.
///
/// Browsers revalidate their copy each time, so that it always speaks this server's protocol. The crate's README, under
/// "In the browser", and the module itself say how to use it.
pub fn client_script(path: &str) -> impl FnOnce(&mut ServiceConfig) + use<> + 'static {
    let path = path.to_owned();
    move |config| {
        config.route(&path, web::get().to(serve)).route(&path, web::head().to(serve));
    }
}

async fn serve(known: Option<Header<IfNoneMatch>>) -> HttpResponse {
    let newest = tag();
    let known = known.is_some_and(|Header(known)| match known {
        IfNoneMatch::Any => true,
        IfNoneMatch::Items(tags) => tags.iter().any(|tag| tag.weak_eq(&newest)),
    });
    let mut response = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response
        .insert_header(ETag(newest))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"));
    if known {
        response.finish()
    } else {
        response.insert_header((CONTENT_TYPE, "text/javascript; charset=utf-8")).body(SCRIPT)
    }
}

/// Returns the entity tag of the text: it changes if and only if the text does.
fn tag() -> EntityTag {
    let mut hasher = DefaultHasher::new();
    SCRIPT.hash(&mut hasher);
    EntityTag::new_strong(format!("{:016x}", hasher.finish()))
}

const SCRIPT: &str = include_str!("../js/dist/callboard.js");

#[cfg(test)]
mod tests {
    use actix_web::http::header::{ETAG, HeaderName, IF_NONE_MATCH};
    use actix_web::http::{Method, StatusCode};
    use actix_web::test::{TestRequest, call_service, init_service, read_body};
    use actix_web::{App, dev::ServiceResponse};

    use super::*;

    async fn ask(method: Method, known: Option<&str>) -> ServiceResponse {
        let app = init_service(App::new().configure(client_script("/callboard.js"))).await;
        let request = TestRequest::with_uri("/callboard.js").method(method);
        let request = known
            .into_iter()
            .fold(request, |request, tag| request.insert_header((IF_NONE_MATCH, tag)));
        call_service(&app, request.to_request()).await
    }

    fn header(response: &ServiceResponse, name: HeaderName) -> &str {
        response.headers().get(name).expect("it is there").to_str().expect("ASCII")
    }

    #[actix_web::test]
    async fn it_is_served_as_a_script_and_as_nothing_else() {
        let response = ask(Method::GET, None).await;

        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(header(&response, CONTENT_TYPE), "text/javascript; charset=utf-8");
        assert_eq!(header(&response, X_CONTENT_TYPE_OPTIONS), "nosniff");
        assert_eq!(read_body(response).await, SCRIPT);
    }

    #[actix_web::test]
    async fn who_has_the_newest_gets_it_no_second_time() {
        let tag = header(&ask(Method::HEAD, None).await, ETAG).to_owned();

        for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()]
        {
            let response = ask(Method::GET, Some(&known)).await;

            assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{known}");
            assert_eq!(header(&response, ETAG), tag);
            assert_eq!(header(&response, CACHE_CONTROL), "no-cache");
            assert!(read_body(response).await.is_empty());
        }
        assert_eq!(ask(Method::GET, Some("\"other\"")).await.status(), StatusCode::OK);
    }
}
