package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// notRun are the commands that TestPages does not run, each with the reason, which
// the page has to give as well, in a comment behind the command.
var notRun = map[string]string{
	"scripts/c10k.sh --quick": "takes a minute", // and writes into the tree
	"scripts/test.sh":         "takes 20 minutes",
	"roost bench hostile ws://127.0.0.1:9000/ --pid 4711":                    "takes minutes",
	"roost bench transports http://127.0.0.1:8080/ --pid 4711 --out results": "takes five minutes",
	"curl -N 'http://127.0.0.1:8080/v1/sse?channel=news:1&channel=chat'":     "runs until Ctrl-C",
	"sudo roost doctor --target 100000 --fix":                                "needs root",
	"iptables -t raw -A PREROUTING -p tcp --dport 8080 -j NOTRACK":           "needs root",
	"iptables -t raw -A OUTPUT -p tcp --sport 8080 -j NOTRACK":               "needs root",
}

// mayFail are the commands whose exit code 1 is an answer about the machine.
var mayFail = []string{"roost doctor --target 100000", "roost doctor --target 100000 --json"}

// Everything that README.md and docs say one can type works as it is written, in
// that order, on each page.
func TestPages(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"node", "curl", "openssl", "redis-server"} {
		if _, err := exec.LookPath(command); err != nil {
			t.Fatalf("%v: scripts/test.sh tools installs it", err)
		}
	}
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	install := exec.CommandContext(t.Context(), "go", "install", "-buildvcs=false", "./cmd/roost")
	install.Dir, install.Env = root, append(os.Environ(), "GOBIN="+bin)
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("go install ./cmd/roost: %v\n%s", err, out)
	}
	var mu sync.Mutex
	unused, commands := map[string]bool{}, 0
	for command := range notRun {
		unused[command] = true
	}
	t.Run("pages", func(t *testing.T) {
		for _, name := range append(files, "../../README.md") {
			t.Run(filepath.Base(name), func(t *testing.T) {
				t.Parallel()
				p := newPage(t, root, bin)
				p.read(string(must(os.ReadFile(name))))
				mu.Lock()
				defer mu.Unlock()
				commands += p.commands
				for _, command := range p.skipped {
					delete(unused, command)
				}
			})
		}
	})
	if commands < 50 {
		t.Errorf("%d commands were run: the test looks at the wrong place", commands)
	}
	for command := range unused {
		t.Errorf("no page has the command %q any more", command)
	}
}

// A pageReader follows a document as a person does: at a terminal, with others for
// what runs on, and a browser.
type pageReader struct {
	t    *testing.T
	root string // the clone
	dir  string // where everything else is typed
	env  []string
	// addr stands for 127.0.0.1 and localhost, so that the ports are free.
	addr    string
	servers []*background

	commands int           // that were run
	skipped  []string      // that are in notRun
	out      string        // of the last block
	shown    *bufio.Reader // by the page in the browser
	press    io.Writer     // its button
}

func newPage(t *testing.T, root, bin string) *pageReader {
	p := &pageReader{t: t, root: root, dir: t.TempDir(),
		addr: fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))}
	p.write(".curlrc", "fail-with-body\nsilent\nshow-error\n") // a refusal is a failure
	p.write("variables", "")
	// Programs of examples have their addresses in the source.
	replaced := map[string]string{}
	for _, name := range must(filepath.Glob(filepath.Join(root, "examples/*/main.go"))) {
		replaced[name] = p.write(strings.ReplaceAll(strings.TrimPrefix(name, root+"/"), "/", "-"), p.here(string(must(os.ReadFile(name)))))
	}
	overlay := p.write("overlay.json", string(must(json.Marshal(map[string]any{"Replace": replaced}))))
	p.env = append(os.Environ(), "CURL_HOME="+p.dir, "GOBIN="+bin, "PATH="+bin+":"+os.Getenv("PATH"),
		"GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" -buildvcs=false -overlay="+overlay),
		"ROOST_ADDR="+p.addr+":8080", "ADMIN="+p.addr+":8081", "ROOST_API_URL=http://"+p.addr+":8081", "ROOST_URL=ws://"+p.addr+":8080/")
	return p
}

// write writes a file into the page's folder and returns its path.
func (p *pageReader) write(name, text string) string {
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// here is text with the page's own address.
func (p *pageReader) here(text string) string {
	text = strings.NewReplacer("127.0.0.1", p.addr, "localhost", p.addr).Replace(text)
	return regexp.MustCompile(`--admin-addr (\d+ )`).ReplaceAllString(text, "--admin-addr "+p.addr+":$1")
}

var (
	fence = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$|^Press (?:the button|it again)")
	typed = regexp.MustCompile(`(?m)^(sudo |roost |curl |scripts/|go |docker )`)
)

// read does what the page says. Where it shows a page for the browser, it also
// shows what must come of each step.
func (p *pageReader) read(text string) {
	t := p.t
	inBrowser := strings.Contains(text, "\nPress the button")
	kinds := map[string]int{}
	for _, block := range fence.FindAllStringSubmatch(text, -1) {
		kind, content := block[1], block[2]
		kinds[kind]++
		switch {
		case kind == "sh":
			p.out = ""
			for line := range strings.Lines(strings.ReplaceAll(content, "\\\n", " ")) {
				if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
					p.do(line)
				}
			}
		case kind == "bash" || kind == "console" || kind == "shell" || kind == "" && typed.MatchString(content):
			t.Errorf("a block of commands has to be marked sh, not %q:\n%s", kind, content)
		case !inBrowser:
		case kind == "html":
			p.open(content)
		case kind == "json":
			if got, want := constant(p.out), constant(content); got != want {
				t.Errorf("answered %s, want %s", got, want)
			}
		case kind == "text":
			p.wantShown(content)
		case strings.HasPrefix(block[0], "Press"):
			if _, err := io.WriteString(p.press, "\n"); err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(block[0], "button") {
				p.wantShown("closed: 1000")
			}
		default:
			t.Errorf("nothing runs this block of %s:\n%s", kind, content)
		}
	}
	if inBrowser && (kinds["sh"] < 7 || kinds["html"] != 1 || kinds["json"] < 2 || kinds["text"] < 4 || kinds[""] != 2) {
		t.Errorf("the page has %v: the test does not see all of it", kinds)
	}
}

// do runs one line. Servers run on until the page's end, or until another one
// needs their port: a reader ends them with Ctrl-C.
func (p *pageReader) do(line string) {
	t := p.t
	t.Helper()
	command, comment, _ := strings.Cut(line, " #")
	command = strings.TrimSpace(command)
	if reason, ok := notRun[command]; ok {
		p.skipped = append(p.skipped, command)
		if !strings.Contains(comment, reason) {
			t.Errorf("the page does not say that %q %s", command, reason)
		}
		if words := strings.Fields(strings.TrimPrefix(command, "sudo ")); words[0] == "roost" {
			if _, err := parse(t, words[1:]...); err != nil {
				t.Errorf("%q: %v", command, err)
			}
		}
		return
	}
	p.commands++
	line = p.here(line)
	dir := p.dir
	if strings.HasPrefix(line, "scripts/") || strings.HasPrefix(line, "go ") {
		dir = p.root
	}
	if runsOn.MatchString(line) {
		p.start(line, dir)
		return
	}
	// A terminal keeps its variables.
	script := fmt.Sprintf("set -ea; . %[1]s/variables\n%[2]s\nexport -p >%[1]s/variables", p.dir, line)
	cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
	cmd.Dir, cmd.Env = dir, p.env
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	p.out += string(out)
	if err != nil && !(slices.Contains(mayFail, command) && cmd.ProcessState.ExitCode() == 1) {
		t.Fatalf("%s: %v\n%s%s", line, err, out, &complaints)
	}
}

// runsOn matches what a reader leaves running, and ready what it says when others
// can use it.
var (
	runsOn = regexp.MustCompile(`^(roost (serve|subscribe) |scripts/run\.sh|go run \./examples/|redis-server )`)
	ready  = regexp.MustCompile(`roost serves|open http://|: subscribed|Ready to accept connections`)
)

// background is a command that runs on.
type background struct {
	cmd   *exec.Cmd
	ports []string
	ended chan struct{}
}

var listens = regexp.MustCompile(`addr[ =]\S*?(\d+)(?: |$)`)

func (p *pageReader) start(line, dir string) {
	t := p.t
	t.Helper()
	b := &background{cmd: exec.Command("sh", "-c", "exec "+line+" 1>&2"), ended: make(chan struct{})}
	if !strings.HasPrefix(line, "roost subscribe") && !strings.HasPrefix(line, "redis-server") {
		for _, m := range listens.FindAllStringSubmatch(line, -1) {
			b.ports = append(b.ports, m[1])
		}
		if !strings.Contains(line, "--addr") {
			b.ports = append(b.ports, "8080")
		}
		if strings.HasPrefix(line, "go run") || strings.HasPrefix(line, "scripts/run.sh") {
			b.ports = append(b.ports, "8081")
		}
	}
	for _, other := range p.servers {
		if slices.ContainsFunc(b.ports, func(port string) bool { return slices.Contains(other.ports, port) }) {
			other.end()
		}
	}
	b.cmd.Dir, b.cmd.Env = dir, p.env
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // go run has a child
	stderr, err := b.cmd.StderrPipe()
	if err == nil {
		err = b.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	p.servers = append(p.servers, b)
	t.Cleanup(b.end)
	said, started := make(chan string, 1), make(chan struct{}, 1)
	go func() {
		var all strings.Builder
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			all.WriteString(lines.Text() + "\n")
			if ready.MatchString(lines.Text()) {
				select {
				case started <- struct{}{}:
				default: // it has been told
				}
			}
		}
		said <- all.String()
		_ = b.cmd.Wait() // a signal ends it
		close(b.ended)
	}()
	select {
	case <-started:
	case <-b.ended:
		t.Fatalf("%s: ended: %v\n%s", line, b.cmd.ProcessState, <-said)
	case <-time.After(3 * testTimeout): // it may have to be compiled first
		t.Fatalf("%s: not ready", line)
	}
}

// end is Ctrl-C.
func (b *background) end() {
	_ = syscall.Kill(-b.cmd.Process.Pid, syscall.SIGINT) // it may have ended
	select {
	case <-b.ended:
	case <-time.After(testTimeout):
		_ = syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL)
		<-b.ended
	}
}

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

// constant returns text as each run has it.
func constant(text string) string {
	for _, v := range variable {
		text = v.pattern.ReplaceAllString(text, v.as)
	}
	return strings.TrimSpace(text)
}

// open runs the script of a page, with the token that was made.
func (p *pageReader) open(html string) {
	t := p.t
	t.Helper()
	_, script, _ := strings.Cut(p.here(html), "<script>")
	script, _, found := strings.Cut(script, "</script>")
	if !found {
		t.Fatalf("the page has no script:\n%s", html)
	}
	token := strings.TrimSpace(string(must(os.ReadFile(filepath.Join(p.dir, "token")))))
	cmd := exec.CommandContext(t.Context(), "node", p.write("browser.js", inABrowser), token, p.write("page.js", script))
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
	p.press, p.shown = stdin, bufio.NewReader(stdout)
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
func (p *pageReader) wantShown(lines string) {
	p.t.Helper()
	for want := range strings.Lines(lines) {
		got, err := p.shown.ReadString('\n')
		if err != nil || constant(got) != constant(want) {
			p.t.Fatalf("the page shows %s, %v; want %s", got, err, want)
		}
	}
}
