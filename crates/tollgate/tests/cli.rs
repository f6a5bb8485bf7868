//! The built binary: exit codes and where its words go.

use std::path::Path;
use std::process::{Command, Output};

fn tollgate(arguments: &[&str], variables: &[(&str, &str)], folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(arguments).current_dir(folder).env_clear().envs(variables.iter().copied());
    command.output().expect("the binary starts")
}

/// Arguments, environment, and what stderr must contain.
type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str);

/// Runs it and gives the exit code, stdout and stderr.
fn run(arguments: &[&str], variables: &[(&str, &str)], folder: &Path) -> (i32, String, String) {
    let output = tollgate(arguments, variables, folder);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is text");
    (output.status.code().expect("it ends by itself"), text(output.stdout), text(output.stderr))
}

#[test]
fn help_and_version_are_data() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["--help"][..], &["--version"], &["tenants", "create", "--help"], &["help", "apply"]] {
        let (code, stdout, stderr) = run(arguments, &[], folder.path());
        assert_eq!((code, stderr.as_str()), (0, ""), "{arguments:?}");
        assert!(!stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn secrets_of_the_environment_never_show_in_help() {
    let folder = tempfile::tempdir().unwrap();
    let variables = [
        ("TOLLGATE_ADMIN_TOKEN", "canary-1"),
        ("TOLLGATE_DATABASE_URL", "postgres://u:canary-2@h/d"),
        ("TOLLGATE_CONTROL_URL", "http://u:canary-3@h"),
        ("TOLLGATE_ADMIN_URL", "http://canary-4"),
        ("TOLLGATE_MASTER_KEY", "canary-5"),
    ];
    for arguments in
        [&["dev", "--help"][..], &["gateway", "--help"], &["usage", "--help"], &["apply", "--help"]]
    {
        let (code, stdout, stderr) = run(arguments, &variables, folder.path());
        assert_eq!(code, 0, "{arguments:?}");
        assert!(!stdout.contains("canary") && !stderr.contains("canary"), "{arguments:?}: {stdout}{stderr}");
    }
}

#[test]
fn bad_arguments_and_environment_exit_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let cases: &[Case] = &[
        (&["dev", "--listen", "nowhere"], &[], "--listen"),
        (&["no-such-command"], &[], "no-such-command"),
        (&["all"], &[], "error: `tollgate all` needs --config FILE or TOLLGATE_CONFIG\n"),
        (&["gateway"], &[], "error: `tollgate gateway` needs --control-url URL or TOLLGATE_CONTROL_URL\n"),
        (&["control"], &[], "error: `tollgate control` needs TOLLGATE_DATABASE_URL\n"),
        (&["dev"], &[("TOLLGATE_MASTER_KEY", "short")], "TOLLGATE_MASTER_KEY is not base64 of 32 bytes"),
        (&["tenants", "list", "--admin-url", "ftp://h"], &[], "it must start with http:// or https://"),
        (&["check", "-f", "absent.yaml"], &[], "absent.yaml: cannot be read: "),
        (&["check", "-f", "/dev/zero"], &[], "/dev/zero: has more than 16777216 bytes"),
        (&["check"], &[("TOLLGATE_CONFIG", "")], "--file <FILE>"),
        (
            &["migrate"],
            &[("TOLLGATE_LOG", "a=b=c")],
            "error: TOLLGATE_LOG: the log filter `a=b=c` is wrong: ",
        ),
        (&["migrate"], &[("RUST_LOG", "a=b=c")], "error: RUST_LOG: the log filter `a=b=c` is wrong: "),
        (
            &["usage"],
            &[("TOLLGATE_ADMIN_TOKEN", "a\nb")],
            "error: TOLLGATE_ADMIN_TOKEN has characters that no header can carry",
        ),
        (
            &[
                "dev",
                "--listen=127.0.0.1:0",
                "--admin-listen=127.0.0.1:0",
                "--ops-listen=127.0.0.1:0",
                "--data-dir=data",
            ],
            &[("OPENAI_API_KEY", "a\nb"), ("TOLLGATE_LOG", "off")],
            "error: OPENAI_API_KEY cannot stand in a header",
        ),
    ];
    for (arguments, variables, expected) in cases {
        let (code, stdout, stderr) = run(arguments, variables, folder.path());
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}: {stderr}");
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
    }
}

#[test]
fn empty_variables_leave_the_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let variables = [
        ("TOLLGATE_DATA_DIR", ""),
        ("TOLLGATE_LOG_FORMAT", ""),
        ("TOLLGATE_LOG", ""),
        ("TOLLGATE_DATABASE_URL", ""),
        ("TOLLGATE_DATABASE_URL_FILE", ""),
        ("TOLLGATE_ADMIN_URL", ""),
        ("TOLLGATE_ADMIN_TOKEN", ""),
        ("TOLLGATE_ADMIN_TOKEN_FILE", ""),
        ("TOLLGATE_ADMIN_CA_FILE", ""),
        ("TOLLGATE_ADMIN_LISTEN", ""),
        ("TOLLGATE_REDIS_TIMEOUT_MS", ""),
    ];
    let (code, _, stderr) = run(&["migrate"], &variables, folder.path());
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.starts_with("error: `tollgate migrate` needs TOLLGATE_DATABASE_URL, "), "{stderr}");
    assert!(!folder.path().join("tollgate-data").exists(), "nothing was made");
    let with_database: Vec<_> = variables
        .iter()
        .map(|(name, value)| (*name, if *name == "TOLLGATE_DATABASE_URL" { "sqlite://t.db" } else { *value }))
        .collect();
    let (code, _, stderr) = run(&["migrate"], &with_database, folder.path());
    assert_eq!(code, 0, "{stderr}");
    assert!(folder.path().join("t.db").exists());
    let (code, _, stderr) = run(&["control"], &variables, folder.path());
    assert_eq!((code, stderr.as_str()), (2, "error: `tollgate control` needs TOLLGATE_DATABASE_URL\n"));
}

#[test]
fn check_tells_every_problem_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let text = "version: 1\nprovidrs: []\ntenants:\n  - name: acme\n    biling: prepaid\n";
    std::fs::write(folder.path().join("t.yaml"), text).unwrap();
    let (code, stdout, stderr) = run(&["check", "-f", "t.yaml"], &[], folder.path());
    assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
    assert_eq!(
        stderr,
        "t.yaml:2: providrs: unknown field `providrs`; did you mean `providers`?\n\
         t.yaml:5: tenants[0].biling: unknown field `biling`; did you mean `billing`?\n"
    );
    std::fs::write(folder.path().join("t.yaml"), "version: 1\n").unwrap();
    let (code, stdout, stderr) = run(&["check", "-f", "t.yaml"], &[], folder.path());
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(stdout, "ok: 0 providers, 0 models, 0 prices, 0 tenants, 0 projects, 0 keys\n");
}

#[test]
fn nothing_listening_is_a_failure_and_not_a_usage_error() {
    let folder = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}");
    let (code, stdout, stderr) = run(&["usage", "--admin-url", &url], &[], folder.path());
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.starts_with(&format!("error: nothing answers at {url}; ")), "{stderr}");
}

#[test]
fn the_token_of_the_data_directory_is_presented() {
    use std::io::{BufRead, BufReader, Write};
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::fs::write(folder.path().join("data/admin-token"), "from-the-data-directory\n").unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
        let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        let body = "{\"rows\":[],\"data\":[]}";
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        head
    });
    let (code, _, stderr) = run(&["usage", "--admin-url", &url, "--data-dir", "data"], &[], folder.path());
    assert_eq!(code, 0, "{stderr}");
    let head = server.join().unwrap();
    assert!(head.contains(&"authorization: Bearer from-the-data-directory".to_owned()), "{head:?}");
}

#[test]
fn completions_are_scripts() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let (code, stdout, _) = run(&["completions", shell], &[], folder.path());
        assert_eq!(code, 0);
        assert!(stdout.contains("providers") && stdout.contains("rotate"), "{shell}");
    }
}
