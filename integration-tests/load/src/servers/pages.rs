//! Page for browsers, which is measured, and a supervisor that starts its server again when that has ended.

use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use actix_web::http::header::{CACHE_CONTROL, ContentType};
use actix_web::{HttpResponse, web};
use callboard_signaling::client_script;

/// Adds the routes of the page.
pub(super) fn configure(app: &mut web::ServiceConfig) {
    let page = || async { file(ContentType::html(), include_str!("../browsers/page.html")) };
    let script = || async {
        let javascript = ContentType("text/javascript; charset=utf-8".parse().expect("a type"));
        file(javascript, include_str!("../browsers/page.js"))
    };
    app.route("/", web::get().to(page))
        .route("/page.js", web::get().to(script))
        .configure(client_script("/callboard.js"));
}

fn file(kind: ContentType, text: &'static str) -> HttpResponse {
    HttpResponse::Ok().insert_header(kind).insert_header((CACHE_CONTROL, "no-store")).body(text)
}

/// Starts the server, always at the same port, again and again, until standard input ends.
pub(super) fn supervise() -> io::Result<()> {
    // Nothing else takes it before the server does: this process has started nothing yet.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let (tell, told) = mpsc::channel();
    let ended = tell.clone();
    thread::spawn(move || {
        io::copy(&mut io::stdin(), &mut io::sink()).map(drop).map(|()| _ = ended.send(Ok(())))
    });
    thread::spawn(move || tell.send(start_again_and_again(port)));
    told.recv().map_err(io::Error::other)?
}

fn start_again_and_again(port: u16) -> io::Result<()> {
    let (program, mut is_first) = (std::env::current_exe()?, true);
    loop {
        let mut server = Command::new(&program)
            .args(["serve", "pages", "--port", &port.to_string()])
            // It ends with this process.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        // `wait` would close it.
        let _input = server.stdin.take();
        let output = server.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let address = line.trim().parse().map_err(io::Error::other)?;
        if std::mem::take(&mut is_first) {
            super::announce(address);
        }
        server.wait()?;
    }
}
