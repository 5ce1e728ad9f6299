package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// inABrowser runs the script of a page as far as it needs a browser: a line of
// standard input presses its button, and what it shows is standard output.
const inABrowser = `
const elements = {};
globalThis.location = { hash: '#' + process.argv[2] };
try { globalThis.WebSocket ??= require('ws'); } catch {
  console.error('Node.js ' + process.version + ' has no WebSocket (22 and newer do): scripts/test.sh tools installs the package ws, ROOST_NODE_MODULES is its folder');
  process.exit(1);
}
globalThis.document = { getElementById: (id) => elements[id] ??= { append: (text) => process.stdout.write(text) } };
require('vm').runInThisContext(require('fs').readFileSync(process.argv[3], 'utf8'));
require('readline').createInterface({ input: process.stdin }).on('line', () => elements.plug.onclick()).on('close', () => process.exit());
`

// variable is what is not the same in each run.
var variable = []struct {
	pattern *regexp.Regexp
	as      string
}{
	{regexp.MustCompile(`"client":"[^"]+"`), `"client":"C"`},
	{regexp.MustCompile(`"epoch":"[^"]+"`), `"epoch":"E"`},
	{regexp.MustCompile(`"expires":3[56]\d\d`), `"expires":3600`},
}

// constant answers text as each run has it.
func constant(text string) string {
	for _, v := range variable {
		text = v.pattern.ReplaceAllString(text, v.as)
	}
	return strings.TrimSpace(text)
}

// A tutorial is docs/getting-started.md as somebody who follows it runs it.
type tutorial struct {
	t     *testing.T
	dir   string
	env   []string
	ports *strings.Replacer // known when the server runs
	out   string            // of the last command
	shown *bufio.Reader     // by the page
	press io.Writer         // its button
}

// Everything that docs/getting-started.md says works, in that order.
func TestGettingStarted(t *testing.T) {
	for _, command := range []string{"node", "curl"} {
		if _, err := exec.LookPath(command); err != nil {
			t.Fatalf("%v: scripts/test.sh tools installs it", err)
		}
	}
	text, err := os.ReadFile("../../docs/getting-started.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	// This test is roost.
	roost := "#!/bin/sh\nexec env " + asRoost + "=1 " + os.Args[0] + ` "$@"` + "\n"
	if err := os.WriteFile(filepath.Join(dir, "roost"), []byte(roost), 0o755); err != nil {
		t.Fatal(err)
	}
	tut := &tutorial{t: t, dir: dir, env: append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))}
	kinds := map[string]int{}
	for _, block := range regexp.MustCompile("(?s)```(\\w+)\n(.*?)```|Press (?:the button|it again)").FindAllStringSubmatch(string(text), -1) {
		kinds[block[1]]++
		switch block[1] {
		case "sh":
			tut.run(block[2])
		case "html":
			tut.open(block[2])
		case "json":
			if got, want := constant(tut.out), constant(block[2]); got != want {
				t.Errorf("answered %s, want %s", got, want)
			}
		case "text":
			tut.wantShown(block[2])
		case "":
			if _, err := io.WriteString(tut.press, "\n"); err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(block[0], "button") {
				tut.wantShown("closed: 1000")
			}
		default:
			t.Errorf("nothing runs this block of %s:\n%s", block[1], block[2])
		}
	}
	if kinds["sh"] < 7 || kinds["html"] != 1 || kinds["json"] < 2 || kinds["text"] < 4 || kinds[""] != 2 {
		t.Errorf("the page has %v: the test does not see all of it", kinds)
	}
}

// run runs commands; the server runs on until the end.
func (tut *tutorial) run(commands string) {
	t := tut.t
	t.Helper()
	if line, ok := strings.CutPrefix(commands, "roost serve "); ok {
		line = strings.Replace(line, "--admin-addr 8081", "--admin-addr 0", 1)
		args := strings.Fields(line)
		for i := range args {
			args[i] = strings.Trim(args[i], "'")
		}
		p := startRoostAs(t, func(p *process) { p.cmd.Dir = tut.dir }, loopback(args...)...)
		admin := regexp.MustCompile(`"admin_addr":"([^"]+)"`).FindStringSubmatch(p.said())
		if admin == nil {
			t.Fatalf("the log names no admin port:\n%s", p.said())
		}
		tut.ports = strings.NewReplacer("localhost:8080", p.addr, "127.0.0.1:8081", admin[1])
		tut.env = append(tut.env, "ROOST_API_URL=http://"+admin[1])
		return
	}
	if install, rest, _ := strings.Cut(commands, "\n"); strings.HasPrefix(install, "go install ./cmd/roost") {
		commands = rest
	}
	if tut.ports != nil {
		commands = tut.ports.Replace(commands)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", commands)
	cmd.Dir, cmd.Env = tut.dir, tut.env
	var errors strings.Builder
	cmd.Stderr = &errors
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", commands, err, out, &errors)
	}
	tut.out = string(out)
}

// open runs the page.
func (tut *tutorial) open(page string) {
	t := tut.t
	t.Helper()
	_, script, _ := strings.Cut(tut.ports.Replace(page), "<script>")
	script, _, found := strings.Cut(script, "</script>")
	if !found {
		t.Fatalf("the page has no script:\n%s", page)
	}
	token, err := os.ReadFile(filepath.Join(tut.dir, "token"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(tut.dir, "page.js")
	if err := os.WriteFile(file, []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	browser := filepath.Join(tut.dir, "browser.js")
	if err := os.WriteFile(browser, []byte(inABrowser), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", browser, strings.TrimSpace(string(token)), file)
	cmd.Env = append(os.Environ(), "NODE_PATH="+os.Getenv("ROOST_NODE_MODULES"))
	var complaints strings.Builder
	cmd.Stderr = &complaints
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	tut.press, tut.shown = stdin, bufio.NewReader(stdout)
	late := time.AfterFunc(testTimeout, func() { _ = cmd.Process.Kill() })
	t.Cleanup(func() {
		late.Stop()
		stdin.Close()
		_ = cmd.Wait() // its complaints tell
		if t.Failed() {
			t.Logf("node said:\n%s", &complaints)
		}
	})
}

// wantShown waits for the next lines of the page.
func (tut *tutorial) wantShown(lines string) {
	tut.t.Helper()
	for want := range strings.Lines(lines) {
		got, err := tut.shown.ReadString('\n')
		if err != nil || constant(got) != constant(want) {
			tut.t.Fatalf("the page shows %s, %v; want %s", got, err, want)
		}
	}
}
