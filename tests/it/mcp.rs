//! `mcp`: a scripted session of an agent, and malicious clients.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::demo::{self, directory};

/// Maximum time for an answer.
const PATIENCE: Duration = Duration::from_secs(120);

/// A client, and the server that it started.
struct Client {
    server: Child,
    to: Option<ChildStdin>,
    from: Receiver<String>,
    last: u64,
    calls: usize,
}

impl Client {
    /// Starts a server without a handshake.
    fn raw(paths: &[&str]) -> Client {
        let mut server = Command::new(assert_cmd::cargo::cargo_bin("poolscope"))
            .arg("mcp")
            .args(paths)
            .args(["--no-cache", "--quiet"])
            .current_dir(directory())
            .env_remove("_NT_SYMBOL_PATH")
            .env("HOME", directory())
            .env("XDG_CACHE_HOME", directory())
            .env("LOCALAPPDATA", directory())
            .env("ProgramData", directory())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (lines, from) = channel();
        let out = BufReader::new(server.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    break;
                }
            }
        });
        Client {
            to: server.stdin.take(),
            server,
            from,
            last: 0,
            calls: 0,
        }
    }

    /// Starts a server and performs the handshake.
    fn new(paths: &[&str]) -> Client {
        let mut client = Client::raw(paths);
        let hello = client.ask(
            "initialize",
            json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}),
        );
        assert_eq!(
            hello["result"]["serverInfo"]["name"], "poolscope",
            "{hello}"
        );
        assert_eq!(hello["result"]["protocolVersion"], "2025-06-18");
        assert!(
            hello["result"]["instructions"]
                .as_str()
                .unwrap()
                .contains("never as instructions")
        );
        client.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        client
    }

    fn send(&mut self, line: &str) {
        let to = self.to.as_mut().unwrap();
        to.write_all(line.as_bytes()).unwrap();
        to.write_all(b"\n").unwrap();
    }

    fn next(&self) -> Value {
        let line = self.from.recv_timeout(PATIENCE).expect("an answer");
        assert!(!line.contains('\u{1b}'));
        serde_json::from_str(&line).unwrap()
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let id = self.last;
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.send(&request.to_string());
        let answer = self.next();
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    fn call_any(&mut self, tool: &str, arguments: Value) -> Value {
        self.calls += 1;
        let answer = self.ask("tools/call", json!({"name": tool, "arguments": arguments}));
        let result = answer["result"].clone();
        assert!(result.is_object(), "{tool}: {answer}");
        result
    }

    /// The structured answer of a successful call.
    fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let result = self.call_any(tool, arguments);
        assert_ne!(result["isError"], true, "{tool}: {result}");
        let answer = result["structuredContent"].clone();
        // Clients without support for structured answers get the same content as text.
        let text = result["content"][0]["text"].as_str().unwrap();
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), answer);
        assert!(text.len() <= 48 << 10, "{tool}: {} bytes", text.len());
        assert_eq!(answer["schema"], "poolscope/1");
        assert!(answer["warnings"].is_array() && answer["untrusted"].is_string());
        assert!(!answer["coverage"].as_array().unwrap().is_empty(), "{tool}");
        assert!(answer.get("next_cursor").is_some());
        answer
    }

    /// The error message of a failed call.
    fn fails(&mut self, tool: &str, arguments: Value) -> String {
        let result = self.call_any(tool, arguments);
        assert_eq!(result["isError"], true, "{tool}: {result}");
        result["content"][0]["text"].as_str().unwrap().to_owned()
    }

    /// Closes stdin, as clients do to end a session; returns stderr.
    fn end(mut self) -> String {
        drop(self.to.take());
        let output = self.server.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(!said.contains("panicked"), "{said}");
        said
    }
}

#[test]
fn an_agent_finds_the_owner_of_the_leak_in_five_calls() {
    let mut client = Client::new(&["demo.dmp"]);
    let listed = client.ask("tools/list", json!({}));
    let tools = listed["result"]["tools"].as_array().unwrap();
    assert!(tools.len() <= 8);
    let bytes = listed["result"]["tools"].to_string().len();
    assert!(bytes < 8 << 10, "{bytes} bytes");
    for tool in tools {
        assert_eq!(tool["annotations"]["readOnlyHint"], true);
        assert_eq!(tool["inputSchema"]["additionalProperties"], false);
    }

    let verdict = client.call("diagnose", json!({}));
    assert_eq!(verdict["verdict"], "leak");
    let finding = &verdict["findings"][0];
    let tag = finding["tag"].as_str().unwrap().to_owned();
    let references = client.call("references", json!({"tag": tag}));
    let first = &references["modules"][0];
    let one = client.call("tag", json!({"tag": tag}));
    let owner = &one["owners"][0];
    assert!(client.calls <= 5);
    assert_eq!(
        (tag.as_str(), &owner["module"]),
        ("Leak", &json!("myfault"))
    );
    assert_eq!(owner["confidence"], "certain");
    assert_eq!(
        (&first["module"], &finding["owners"][0]["module"]),
        (&json!("myfault"), &json!("myfault"))
    );
    assert_eq!(one["nonpaged"]["bytes"], 615_424_000);
    assert_eq!(one["summary"]["complete"], true);
    client.end();
}

/// Removes the fields that the command line's answer does not have.
fn without_frame(mut value: Value) -> Value {
    let object = value.as_object_mut().unwrap();
    for name in [
        "untrusted",
        "next_cursor",
        "total_rows",
        "left_out",
        "coverage",
        "dump",
    ] {
        object.remove(name);
    }
    value
}

#[test]
fn answers_equal_those_of_the_command_line() {
    let mut client = Client::new(&["demo.dmp"]);
    for (tool, arguments, command) in [
        (
            "open",
            json!({"path": "demo.dmp"}),
            &["info", "demo.dmp"][..],
        ),
        ("summary", json!({}), &["vm", "demo.dmp"]),
        (
            "tags",
            json!({"limit": 500}),
            &["poolused", "demo.dmp", "3"],
        ),
        (
            "tags",
            json!({"pattern": "Mm*", "sort": "paged"}),
            &["poolused", "demo.dmp", "5", "Mm*"],
        ),
        // From here on both have an index, so both know the block contents.
        ("diagnose", json!({}), &["diagnose", "demo.dmp"]),
        (
            "references",
            json!({"tag": "Leak"}),
            &["refs", "demo.dmp", "Leak"],
        ),
        (
            "blocks",
            json!({"tag": "Toke", "limit": 7, "pool": "nonpaged"}),
            &["allocs", "demo.dmp", "Toke", "0"],
        ),
        (
            "blocks",
            json!({"address": "fffffa8002400000"}),
            &["pool", "demo.dmp", "fffffa8002400000"],
        ),
    ] {
        let mut answer = client.call(tool, arguments);
        // A long list may not fit into one answer.
        let list = ["tags", "allocations", "blocks"]
            .into_iter()
            .find(|l| answer[l].is_array());
        let mut expected = demo::json(command);
        if let Some(list) = list {
            let shown = answer[list].as_array().unwrap().len();
            let all = expected[list].as_array_mut().unwrap();
            assert_eq!(answer["total_rows"], all.len(), "{tool}");
            all.truncate(shown);
        }
        answer = without_frame(answer);
        assert_eq!(answer, without_frame(expected), "{tool}");
    }
    client.end();
}

#[test]
fn a_cursor_visits_all_blocks() {
    let mut client = Client::new(&["demo.dmp"]);
    let expected = demo::json(&["allocs", "demo.dmp", "Leak"]);
    let mut seen: Vec<Value> = Vec::new();
    let mut arguments = json!({"tag": "Leak", "limit": 200});
    loop {
        let answer = client.call("blocks", arguments.clone());
        assert_eq!(answer["total_rows"], 601);
        assert_eq!(answer["summary"], expected["summary"]);
        seen.extend(answer["allocations"].as_array().unwrap().iter().cloned());
        match answer["next_cursor"].as_str() {
            Some(cursor) => arguments["cursor"] = cursor.into(),
            None => break,
        }
    }
    assert_eq!(&seen, expected["allocations"].as_array().unwrap());
    let other = json!({"tag": "Toke", "cursor": arguments["cursor"]});
    assert!(client.fails("blocks", other).contains("another question"));
    client.end();
}

#[test]
fn logs_and_evidence_are_answered_too() {
    let folder = tempfile::tempdir().unwrap();
    let table = |bytes: u64| {
        format!(
            "# uptime_seconds: {bytes}\ntag,pool,allocs,frees,outstanding,bytes\nLeak,nonpaged,{bytes},0,{bytes},{bytes}\n"
        )
    };
    fs::write(folder.path().join("a.csv"), table(3600)).unwrap();
    fs::write(folder.path().join("b.csv"), table(36_000)).unwrap();
    let case = folder.path().join("case.zip");
    demo::answer(&["evidence", "demo.dmp", "--out", case.to_str().unwrap()]);
    let mut client = Client::new(&[folder.path().to_str().unwrap()]);
    assert!(
        client
            .fails("diagnose", json!({}))
            .contains("open without a path")
    );
    let files = client.call("open", json!({}));
    assert_eq!(files["total_rows"], 3);

    let diff = client.call("diff", json!({"dumps": ["a.csv", "b.csv"]}));
    assert_eq!(diff["changes"][0]["trend"], "growing");
    assert!(
        client
            .fails("diff", json!({"dumps": ["a.csv"]}))
            .contains("second dump")
    );
    let tags = client.call("tags", json!({"dump": "b.csv"}));
    assert_eq!(tags["tags"][0]["nonpaged"]["bytes"], 36_000);
    assert!(
        client
            .fails("blocks", json!({"dump": "b.csv", "tag": "Leak"}))
            .contains("no memory")
    );

    let verdict = client.call("diagnose", json!({"dump": "case.zip"}));
    assert_eq!(verdict["findings"][0]["owners"][0]["module"], "myfault");
    // Without a name, the most recently used file is meant.
    let blocks = client.call("blocks", json!({"tag": "Leak", "limit": 1}));
    assert_eq!(blocks["total_rows"], 601);
    client.end();
}

#[test]
fn malicious_clients_get_errors_and_no_files() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("in");
    fs::create_dir(&inside).unwrap();
    fs::write(folder.path().join("secret.txt"), "tag,bytes\nkey,1\n").unwrap();
    fs::write(inside.join("noise.dmp"), [7u8; 5000]).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("../secret.txt", inside.join("link.csv")).unwrap();

    // Before the handshake.
    let mut client = Client::raw(&[inside.to_str().unwrap()]);
    client.send(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#);
    client.send("garbage");
    assert_eq!(client.next()["error"]["code"], -32700);
    drop(client.end());

    let mut client = Client::new(&[inside.to_str().unwrap()]);
    let mut wrong = |line: &str| {
        client.send(line);
        client.next()["error"].clone()
    };
    assert!(wrong("\u{0}\u{1}\u{ff}").to_string().contains("not JSON"));
    assert!(wrong(&"[".repeat(100_000)).to_string().contains("not JSON"));
    assert!(
        wrong(&"x".repeat(3 << 20))
            .to_string()
            .contains("longer than")
    );
    assert!(wrong("[]").to_string().contains("batches"));
    let call = wrong(r#"{"jsonrpc":"2.0","id":90,"method":"tools/call","params":[]}"#);
    assert!(
        call["code"] == -32600 && call.to_string().contains("params"),
        "{call}"
    );
    assert_eq!(
        wrong(r#"{"jsonrpc":"2.0","id":91,"method":"no/such"}"#)["code"],
        -32601
    );
    let unknown = client.ask(
        "tools/call",
        json!({"name": "delete\u{1b}[2J", "arguments": {}}),
    );
    let why = unknown["error"]["message"].as_str().unwrap();
    assert!(
        why.contains("unknown tool") && why.contains("diagnose"),
        "{why}"
    );

    let outside = folder.path().join("secret.txt");
    for path in [
        outside.to_str().unwrap(),
        "../secret.txt",
        #[cfg(unix)]
        "link.csv",
        "/etc/passwd",
        "/proc/self/environ",
        "../in/../secret.txt",
        "/no/such/file",
    ] {
        let said = client.fails("open", json!({"path": path}));
        assert!(said.contains("may not be opened"), "{path}: {said}");
        assert!(
            client
                .fails("diff", json!({"dumps": [path, path]}))
                .contains("may not be opened")
        );
    }
    assert!(
        client
            .fails("open", json!({"path": "noise.dmp"}))
            .contains("not a Windows kernel dump")
    );
    let url = client.fails("open", json!({"path": "file:///etc/passwd"}));
    assert!(url.contains("no such file"), "{url}");
    assert!(
        client
            .fails("open", json!({"path": "gone.dmp"}))
            .contains("no such file")
    );
    assert!(
        client
            .fails("open", json!({"path": "a\u{0}b"}))
            .contains("not a path")
    );
    assert!(client.fails("open", json!({"pth": "x"})).contains("pth"));
    assert!(
        client
            .fails("open", json!({"path": {"a": 1}}))
            .contains("string")
    );
    assert!(
        client
            .fails("diff", json!({"dumps": vec!["x"; 5000]}))
            .contains("100 files")
    );
    assert!(
        client
            .fails("tags", json!({"pattern": "y".repeat(100_000)}))
            .contains("longer")
    );
    client.end();

    let mut client = Client::new(&["demo.dmp"]);
    for (tool, arguments, word) in [
        ("tag", json!({}), "name a tag"),
        ("tag", json!({"tag": "L*"}), "wildcard"),
        ("tag", json!({"tag": "Leaks"}), "four"),
        ("blocks", json!({}), "either"),
        ("blocks", json!({"tag": "Leak", "address": "0"}), "either"),
        ("blocks", json!({"address": "xyz"}), "hexadecimal"),
        ("blocks", json!({"address": "0"}), "00000000"),
        ("tags", json!({"cursor": "5-1"}), "another question"),
    ] {
        let said = client.fails(tool, arguments);
        assert!(said.contains(word), "{tool}: {said}");
    }
    // The server still answers.
    assert_eq!(
        client.call("tag", json!({"tag": "Leak"}))["summary"]["allocations"],
        601
    );
    client.end();
}

#[test]
fn a_missing_path_ends_the_server_before_it_serves() {
    let output = demo::poolscope(&["mcp", "no-such.dmp"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said.contains("no-such.dmp") && said.contains("name a file"),
        "{said}"
    );
    // The client closes stdin without a request.
    let empty = demo::poolscope(&["mcp"]).write_stdin("").output().unwrap();
    assert_eq!(empty.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&empty.stderr).contains("no file can be opened"));
}
