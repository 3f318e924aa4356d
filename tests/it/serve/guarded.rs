//! What a server refuses, and what it never tells.

use super::*;

#[test]
fn every_bad_request_is_answered_in_one_shape() {
    let folder = Folder::new();
    let server = Server::start(folder.path(), &[]);
    let yaml = "application/yaml";
    let large = format!("# {}", "x".repeat(5 << 20));
    let wrong_input = numbers("a", "").replace("from: rows", "from: rws");
    let deadly = numbers("a", "")
        .replace("  sinks:", "  transforms: { odd: { from: rows, fail: { after: 5, as: kill } } }\n  sinks:")
        .replace("out: { from: rows", "out: { from: odd");
    let long_name = "x".repeat(10_000);
    let cases: &[(Method, &str, &str, &str, u16, &str)] = &[
        (Method::GET, "/v1/nothing", "", "", 404, "http.path"),
        (Method::GET, "/v1/pipelines/none", "", "", 404, "pipeline.unknown"),
        (Method::DELETE, "/v1/pipelines/none", "", "", 404, "pipeline.unknown"),
        (Method::PUT, "/v1/pipelines/none/pause", "", "", 404, "pipeline.unknown"),
        (Method::PATCH, "/v1/pipelines", "", "", 405, "http.method"),
        (Method::POST, "/v1/pipelines/a/pause", "", "", 405, "http.method"),
        (Method::GET, "/v1/pipelines/a%2Fb", "", "", 400, "http.name"),
        (Method::GET, "/v1/pipelines/%20", "", "", 400, "http.name"),
        (Method::GET, "/v1/pipelines/%C3%A9", "", "", 400, "http.name"),
        (Method::GET, "/v1/pipelines/%FF", "", "", 400, "http.name"),
        (Method::GET, "/v1/pipelines/a?namespace=..", "", "", 400, "http.name"),
        (Method::PUT, "/v1/pipelines/a", "text/plain", "a: b", 415, "http.content_type"),
        (Method::PUT, "/v1/pipelines/a", "", "a: b", 415, "http.content_type"),
        (Method::PUT, "/v1/pipelines/a", "application/json", "{", 400, "http.body"),
        (Method::PUT, "/v1/pipelines/a", "application/json", "{\"files\": 1}", 400, "http.body"),
        (Method::PUT, "/v1/pipelines/a", yaml, "", 422, "submission.empty"),
        (Method::PUT, "/v1/pipelines/a", yaml, "a: [", 422, "yaml.syntax"),
        (Method::PUT, "/v1/pipelines/a", yaml, &wrong_input, 422, "names.unknown"),
        (Method::PUT, "/v1/pipelines/other", yaml, &numbers("a", ""), 422, "submission.other_name"),
        // It would have killed the server, and again after each start.
        (Method::PUT, "/v1/pipelines/a", yaml, &deadly, 422, "submission.kills_server"),
        (Method::PUT, "/v1/pipelines/a", yaml, &large, 413, "http.too_large"),
        (Method::PUT, "/v1/pipelines/a", "application/json", &"[".repeat(100_000), 400, "http.body"),
        (Method::PUT, &format!("/v1/pipelines/{long_name}"), yaml, &numbers(&long_name, ""), 0, ""),
    ];
    for (method, path, content_type, body, status, code) in cases {
        let mut request = server.request(method.clone(), path).body((*body).to_owned());
        if !content_type.is_empty() {
            request = request.header("Content-Type", *content_type);
        }
        let response = request.send().unwrap();
        let shown = format!("{method} {} {}", &path[..path.len().min(60)], &body[..body.len().min(60)]);
        if *status == 0 {
            // A name that no file can have: refused, and the server lives.
            assert!(response.status().is_client_error() || response.status().is_server_error(), "{shown}");
            continue;
        }
        let said = response.status().as_u16();
        let text = response.text().unwrap();
        let body: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{shown}: {said} {text}"));
        assert_eq!((said, body["error"]["code"].as_str()), (*status, Some(*code)), "{shown}: {body}");
    }
    let wrong = error(server.put_yaml("a", &wrong_input), 422);
    assert_eq!(wrong["diagnostics"][0]["line"], 6, "{wrong:#}");
    assert_eq!(server.get("/v1/pipelines"), json!({ "pipelines": [] }), "nothing was taken in");
    assert_eq!(server.get("/v1/openapi.json")["openapi"], "3.1.0");
}

#[test]
fn without_credentials_only_names_of_this_machine_are_answered() {
    let folder = Folder::new();
    let server = Server::start(folder.path(), &["--registry", "127.0.0.1:0"]);
    for base in [&server.api, server.registry.as_ref().unwrap()] {
        let ask = |host: &str| Client::new().get(format!("{base}/")).header("Host", host).send().unwrap().status();
        assert_eq!(ask("rebound.example.com"), 403);
        assert_ne!(ask("localhost"), 403);
    }
    assert!(!server.runner.stderr().contains("WARN"), "{}", server.runner.stderr());
}

#[test]
fn with_credentials_everybody_else_is_refused_and_beyond_this_machine_it_warns_without() {
    let folder = Folder::new();
    folder.write("tokens", "# for deployments\nt0ken-4711\n");
    folder.write("users", "ops:pass:word\n");
    let server =
        Server::start(folder.path(), &["--token-file", "tokens", "--users-file", "users", "--registry", "127.0.0.1:0"]);
    let registry = server.registry.clone().unwrap();
    for url in
        [format!("{}/v1/pipelines", server.api), format!("{}/metrics", server.api), format!("{registry}/subjects")]
    {
        let ask = || Client::new().get(&url);
        let refused = ask().send().unwrap();
        assert!(refused.headers().contains_key("www-authenticate"));
        assert_eq!(error(refused, 401)["code"], "http.unauthorized");
        assert_eq!(ask().bearer_auth("t0ken").send().unwrap().status(), 401, "{url}");
        assert_eq!(ask().bearer_auth("t0ken-4711").send().unwrap().status(), 200, "{url}");
        assert_eq!(ask().basic_auth("ops", Some("word")).send().unwrap().status(), 401, "{url}");
        assert_eq!(ask().basic_auth("ops", Some("pass:word")).send().unwrap().status(), 200, "{url}");
    }
    // Clients of Connect are told in its shape; the genuine one has a text there that is no JSON.
    let refused = Client::new().get(format!("{}/connectors/x/status", server.api)).send().unwrap();
    assert!(refused.headers().contains_key("www-authenticate"));
    let refused: Value = refused.json().unwrap();
    let message = "the server asks for a token, or a user and password";
    assert_eq!(refused, json!({ "error_code": 401, "message": message }));
    assert_eq!(server.get("/health")["status"], "healthy", "whoever watches needs none");
    let ended = crate::runner::run(&["get", "--server", &server.api], folder.path()).with_code(1);
    assert!(ended.stderr.contains("asks for a token"), "{}", ended.stderr);
    let url = server.api.replace("http://", "http://ops:pass:word@");
    crate::runner::run(&["get", "--server", &url], folder.path()).with_code(0);
    drop(server);

    let open = Runner::spawn(&["serve", "--listen", "0.0.0.0:0", "--state-dir", "open"], folder.path());
    let warned = open.wait_stderr("can be reached from other machines");
    assert!(warned.contains("--token-file"), "{warned}");
}

/// Connect shows them; here whoever changes what was shown, and sends it back, keeps what is hidden in it.
#[test]
fn no_secret_of_a_connector_comes_back_and_none_is_lost_by_a_change() {
    let folder = Folder::new();
    let server = Server::start(folder.path(), &[]);
    let config = json!({
        "connector.class": "DatagenConnector", "kafka.topic": "t", "quickstart": "users", "tasks.max": "1",
        "value.converter": "io.confluent.connect.avro.AvroConverter",
        "value.converter.schema.registry.url": "http://127.0.0.1:9",
        "value.converter.basic.auth.credentials.source": "USER_INFO",
        "value.converter.basic.auth.user.info": "me:s3cret-of-registry",
        "producer.override.security.protocol": "SASL_PLAINTEXT", "producer.override.sasl.mechanism": "PLAIN",
        "producer.override.sasl.jaas.config": "org.apache.kafka.common.security.plain.PlainLoginModule required \
            username=\"me\" password=\"s3cret-of-kafka\";",
    });
    let request = json!({ "name": "c", "config": config, "initial_state": "STOPPED" });
    let send = |method: Method, path: &str, body: &Value| {
        let answer = server.request(method, path).json(body).send().unwrap();
        (answer.status().as_u16(), answer.text().unwrap())
    };
    let made = send(Method::POST, "/connectors", &request);
    assert_eq!(made.0, 201, "{}", made.1);
    let mut told = vec![made.1];
    let kept = || folder.read(".runner/pipelines/connect/c.json");
    assert!(kept().contains("s3cret-of-registry") && kept().contains("s3cret-of-kafka"));

    let mut shown = server.get("/connectors/c/config");
    assert_eq!(shown["producer.override.sasl.jaas.config"], "[hidden]");
    assert_eq!(shown["value.converter.basic.auth.user.info"], "[hidden]");
    shown["max.interval"] = json!("77");
    let changed = send(Method::PUT, "/connectors/c/config", &shown);
    assert_eq!(changed.0, 200, "{}", changed.1);
    told.push(changed.1);
    let patched = send(Method::PATCH, "/connectors/c/config", &json!({ "max.interval": "78" }));
    assert_eq!(patched.0, 200, "{}", patched.1);
    told.push(patched.1);
    assert!(kept().contains("s3cret-of-registry") && kept().contains("s3cret-of-kafka") && kept().contains("78"));
    shown.as_object_mut().unwrap().remove("name");
    let refused = send(Method::PUT, "/connectors/other/config", &shown);
    assert!(refused.0 == 400 && refused.1.contains("[hidden]"), "{refused:?}");

    let paths = ["/connectors?expand=info", "/connectors/c", "/connectors/c/config", "/connectors/c/tasks"];
    told.extend(paths.map(|path| server.get(path).to_string()));
    told.extend(
        ["", "/connect.c", "/c?namespace=connect"]
            .map(|path| server.request(Method::GET, &format!("/v1/pipelines{path}")).send().unwrap().text().unwrap()),
    );
    told.push(send(Method::PUT, "/connector-plugins/DatagenConnector/config/validate", &config).1);
    told.push(server.runner.stderr());
    told.iter().for_each(|text| assert!(!text.contains("s3cret"), "{text}"));
}

#[test]
fn no_secret_comes_back() {
    let folder = Folder::new();
    folder.write("secret", "s3cret-in-a-file");
    let spec = "apiVersion: runner/v1
kind: Pipeline
metadata: { name: hidden }
spec:
  connections:
    c:
      kafka: { brokers: \"127.0.0.1:9\", properties: { sasl.mechanism: PLAIN, security.protocol: SASL_PLAINTEXT, sasl.username: me, sasl.password: \"{{ env.HIDDEN_IN_ENV }}\" } }
      registry: { url: \"http://127.0.0.1:9\", username: me, password: \"${secret:file:secret}\" }
  sources: { rows: { kafka: { topic: \"{{ values.topic }}\" }, format: avro, connection: c } }
  sinks: { out: { from: rows, discard: {} } }
";
    folder.write("hidden.yaml", spec);
    let server = Server::start(folder.path(), &[]);
    let arguments = ["apply", "--server", &server.api, "hidden.yaml", "--set", "topic=s3cret-of-values"];
    let variables = [("HIDDEN_IN_ENV", "s3cret-of-env"), ("NOT_ASKED", "s3cret-beside")];
    let applied = Runner::spawn_with(&arguments, folder.path(), &variables).wait();
    server.until_state("hidden", "waiting");
    let mut told = vec![applied.stdout, applied.stderr, server.runner.stderr()];
    for path in ["", "/hidden", "/hidden/logs"] {
        told.push(server.get(&format!("/v1/pipelines{path}")).to_string());
    }
    told.push(server.request(Method::GET, "/metrics").send().unwrap().text().unwrap());
    for text in told {
        // The name of a topic is no secret: it says where it reads from.
        assert!(!text.replace("s3cret-of-values", "").contains("s3cret"), "{text}");
    }
    let kept = folder.read(".runner/pipelines/default/hidden.json");
    assert!(kept.contains("s3cret-of-env") && !kept.contains("s3cret-beside") && !kept.contains("in-a-file"), "{kept}");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(folder.path().join(".runner/pipelines")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o077, 0, "only the owner may read what was submitted");
}
