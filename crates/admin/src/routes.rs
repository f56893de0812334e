//! Routes of the admin surface: authorization, query and response.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, VARY};
use actix_web::middleware::from_fn;
use actix_web::web::{self, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, Route};
use callboard_websocket::{BODY_TIME, body_within};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::access::Access;
use crate::admin::Admin;
use crate::error::AdminError;
use crate::exposition::Format;
use crate::fault::FaultOrder;
use crate::recovery::{Measured, MeasuredError};
use crate::stream;

impl Admin {
    /// Mounts the routes, below a prefix or (if that is empty) at the top: `App::new().configure(admin.at("/admin"))`.
    pub fn at(&self, prefix: &str) -> impl FnOnce(&mut ServiceConfig) + use<> + 'static {
        let (admin, prefix) = (self.clone(), prefix.trim_matches('/').to_owned());
        move |config| mount(&admin, &prefix, config)
    }
}

fn mount(admin: &Admin, prefix: &str, config: &mut ServiceConfig) {
    let mut add = |path: &str, route: Route| {
        let path = if prefix.is_empty() { path.to_owned() } else { format!("/{prefix}{path}") };
        let route = route.wrap(from_fn(body_within(BODY_TIME)));
        config.service(web::resource(path).route(route));
    };
    add("/tree", handle(admin, web::get(), tree));
    add("/tree/stream", handle(admin, web::get(), open_stream));
    add("/tree/fault", handle(admin, web::post(), fault));
    add("/tree/recoveries", handle(admin, web::get(), recoveries));
    add("/tree/recoveries/{id}", handle(admin, web::post(), measured));
    add("/cluster/drain", handle(admin, web::post(), drain));
    add("/metrics", handle(admin, web::get(), all_metrics));
    add("/healthz", handle(admin, web::get(), alive));
    add("/readyz", handle(admin, web::get(), ready));
    // The answer to a mistyped path is not that of the application's own pages.
    add("/tree/{path:.*}", handle(admin, web::route(), no_such_route));
    add("/cluster/{path:.*}", handle(admin, web::route(), no_such_route));
}

fn handle<F>(
    admin: &Admin,
    route: Route,
    answer: impl Fn(Admin, HttpRequest, Payload) -> F + Clone + 'static,
) -> Route
where
    F: Future<Output = Result<HttpResponse, AdminError>> + 'static,
{
    let admin = admin.clone();
    route.to(move |request: HttpRequest, payload: Payload| {
        let (admin, asked) = (admin.clone(), request.clone());
        let answer = answer(admin.clone(), request, payload);
        async move {
            answer.await.unwrap_or_else(|error| {
                admin.inner.access.refused(&asked, &error);
                error.respond()
            })
        }
    })
}

async fn tree(admin: Admin, request: HttpRequest, _: Payload) -> Result<HttpResponse, AdminError> {
    #[derive(Deserialize)]
    struct Query {
        nodes: Option<String>,
    }
    admin.inner.access.check(&request, Access::Read)?;
    let query = web::Query::<Query>::from_query(request.query_string());
    match query.ok().and_then(|query| query.into_inner().nodes).as_deref() {
        None => Ok(json(&admin.tree().await)),
        Some("all") => Ok(json(&admin.tree_of_all_nodes().await.ok_or(AdminError::OneNode)?)),
        Some(_) => Err(AdminError::BadRequest("nodes can be `all`".to_owned())),
    }
}

async fn open_stream(
    admin: Admin,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, AdminError> {
    admin.inner.access.check(&request, Access::Watch)?;
    stream::open(&admin, &request, payload).await
}

async fn fault(
    admin: Admin,
    request: HttpRequest,
    body: Payload,
) -> Result<HttpResponse, AdminError> {
    admin.inner.access.check(&request, Access::Change)?;
    let order: FaultOrder = read(body).await?;
    admin.inject(&order).await?;
    let address = request.peer_addr().map(|address| address.to_string());
    log::warn!(
        "the fault {:?} was injected into {}{} by {}",
        order.fault,
        order.node.as_deref().map(|node| format!("{node}: ")).unwrap_or_default(),
        order.target(),
        address.as_deref().unwrap_or("an unknown address")
    );
    Ok(HttpResponse::NoContent().finish())
}

async fn drain(admin: Admin, request: HttpRequest, _: Payload) -> Result<HttpResponse, AdminError> {
    admin.inner.access.check(&request, Access::Change)?;
    let drain = admin.inner.drain.as_ref().ok_or(AdminError::NoDrain)?;
    let address = request.peer_addr().map(|address| address.to_string());
    log::warn!("this node is drained by {}", address.as_deref().unwrap_or("an unknown address"));
    drain();
    Ok(HttpResponse::Accepted().finish())
}

async fn recoveries(
    admin: Admin,
    request: HttpRequest,
    _: Payload,
) -> Result<HttpResponse, AdminError> {
    admin.inner.access.check(&request, Access::Read)?;
    let (recoveries, summary) = (admin.recoveries(), admin.recovery_summaries());
    Ok(json(&json!({ "recoveries": recoveries, "summary": summary })))
}

async fn measured(
    admin: Admin,
    request: HttpRequest,
    body: Payload,
) -> Result<HttpResponse, AdminError> {
    admin.inner.access.check(&request, Access::Change)?;
    let id = request.match_info().query("id").parse().map_err(|_| AdminError::NoSuchRecovery)?;
    let measured: Measured = read(body).await?;
    admin.measured(id, measured).map_err(|error| match error {
        MeasuredError::NotFound => AdminError::NoSuchRecovery,
        MeasuredError::BadTime => AdminError::BadRequest(error.to_string()),
    })?;
    Ok(HttpResponse::NoContent().finish())
}

async fn all_metrics(
    admin: Admin,
    request: HttpRequest,
    _: Payload,
) -> Result<HttpResponse, AdminError> {
    admin.inner.access.check(&request, Access::Read)?;
    let format = Format::wanted(&request);
    let mut response = HttpResponse::Ok();
    response.insert_header((CONTENT_TYPE, format.content_type())).insert_header((VARY, "accept"));
    Ok(response.body(format.of(admin.metrics().await)))
}

async fn alive(_: Admin, _: HttpRequest, _: Payload) -> Result<HttpResponse, AdminError> {
    Ok(json(&json!({ "alive": true })))
}

async fn ready(admin: Admin, request: HttpRequest, _: Payload) -> Result<HttpResponse, AdminError> {
    let down = admin.not_ready().await;
    let said = admin.inner.readiness.as_ref().map_or_else(|| Ok(Map::new()), |ask| ask());
    let is_ready = down.is_empty() && said.is_ok();
    let mut answer = Value::Object(said.unwrap_or_else(|not_ready| not_ready));
    answer["ready"] = is_ready.into();
    if is_ready {
        return Ok(json(&answer));
    }
    if !down.is_empty() && admin.inner.access.check(&request, Access::Read).is_ok() {
        answer["down"] = json!(down);
    }
    let mut response = HttpResponse::ServiceUnavailable();
    Ok(response.insert_header((CACHE_CONTROL, "no-store")).json(answer))
}

async fn no_such_route(
    admin: Admin,
    request: HttpRequest,
    _: Payload,
) -> Result<HttpResponse, AdminError> {
    admin.inner.access.check(&request, Access::Read)?;
    Err(AdminError::NoSuchRoute(request.path().to_owned()))
}

fn json(body: &impl Serialize) -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(body)
}

async fn read<T: DeserializeOwned>(body: Payload) -> Result<T, AdminError> {
    let bad = |detail: String| AdminError::BadRequest(detail);
    let body = body.to_bytes_limited(MAX_BODY).await;
    let body = body.map_err(|_| bad(format!("more than {MAX_BODY} bytes")))?;
    let body = body.map_err(|error| bad(error.to_string()))?;
    serde_json::from_slice(&body).map_err(|error| bad(error.to_string()))
}

/// Size limit of a request's body, in bytes: enough for a path, a word and a number.
const MAX_BODY: usize = 4_096;
