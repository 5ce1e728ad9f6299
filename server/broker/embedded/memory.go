package embedded

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/roostws/roost/server/broker/internal/wire"
)

// A memory is what a directory says of the store in it: whether it still has everything that
// was acknowledged. NATS repairs a file whose end is missing by leaving out the last messages,
// and says nothing; their offsets would be given a second time. So the directory has the
// memory's name, with which epochs begin, and another name is taken where something may be
// missing:
//
//   - The store ends before what was acknowledged last, of which the file "acknowledged" has
//     the sequence. It is written with every record, and not synced: like the store's files
//     it outlives the process, and not the machine.
//   - The machine has started anew, and the process was not ended in order, and did not sync
//     every record.
type memory struct {
	dir  string
	lock *os.File

	mu sync.Mutex
	// Guarded by mu.
	acknowledged *os.File
	last         uint64
	state        memoryState
}

// memoryState is the file "memory".
type memoryState struct {
	Name  string `json:"name"`
	Boot  string `json:"boot"`  // of the machine, when the process began; empty if not known
	Ended bool   `json:"ended"` // in order
	Sync  bool   `json:"sync"`  // every record was synced
}

// openMemory takes a directory, makes it if need be, and keeps other processes out.
func openMemory(dir string) (*memory, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.New("another process uses it")
		}
		return nil, fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	m := &memory{dir: dir, lock: lock}
	if m.acknowledged, err = os.OpenFile(filepath.Join(dir, "acknowledged"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		_ = lock.Close()
		return nil, err
	}
	return m, nil
}

// begin compares what the directory says with the store, which ends at last and misses lost
// messages that it knows of, and returns why another memory begins, or nothing.
func (m *memory) begin(last uint64, lost int, sync bool) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	text, err := os.ReadFile(m.path())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	var before memoryState
	why := ""
	acknowledged, known := m.read()
	switch boot := bootID(); {
	case errors.Is(err, os.ErrNotExist) && last == 0:
		before.Name = wire.NewID()
	case json.Unmarshal(text, &before) != nil || before.Name == "":
		why = "the file memory is missing, or can't be read"
	case !known:
		why = "the file acknowledged can't be read"
	case acknowledged > last:
		why = fmt.Sprintf("the store ends with record %d, and %d was acknowledged", last, acknowledged)
	case lost > 0:
		why = fmt.Sprintf("the store has lost %d records", lost)
	case !before.Ended && !before.Sync && (before.Boot != boot || boot == ""):
		why = "the machine went down, and not every record was synced"
	}
	if why != "" {
		before.Name = wire.NewID()
		m.last = 0
		if err := m.write(last); err != nil {
			return "", err
		}
	}
	if sync && !before.Sync && !before.Ended { // from here on, the state vouches for earlier records, too
		if err := syncAll(m.dir); err != nil {
			return "", err
		}
	}
	m.last = last
	m.state = memoryState{Name: before.Name, Boot: bootID(), Sync: sync}
	return why, m.save()
}

// name names the memory.
func (m *memory) name() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.Name
}

func (m *memory) path() string { return filepath.Join(m.dir, "memory") }

// save writes the file "memory", whole or not at all.
func (m *memory) save() error {
	text, _ := json.Marshal(m.state)
	name := m.path() + ".new"
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(name, m.path()); err != nil {
		return err
	}
	return syncFile(m.dir)
}

// syncFile writes a file, or the entries of a folder, to the disk.
func syncFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// syncAll writes all files below a folder to the disk. The store may remove some meanwhile.
func syncAll(dir string) error {
	return filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		if err == nil {
			err = syncFile(name)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

// read returns the sequence in the file "acknowledged", 0 if there is none yet.
func (m *memory) read() (sequence uint64, ok bool) {
	var b [16]byte
	switch n, err := m.acknowledged.ReadAt(b[:], 0); {
	case n == 0 && errors.Is(err, io.EOF):
		return 0, true
	case n < len(b):
		return 0, false
	}
	sequence = binary.BigEndian.Uint64(b[:])
	return sequence, ^sequence == binary.BigEndian.Uint64(b[8:])
}

// note notes that a record was acknowledged. An error means that it may be given another
// place after a crash, so that it must not be acknowledged to anybody.
func (m *memory) note(sequence uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if sequence <= m.last {
		return nil
	}
	if err := m.write(sequence); err != nil {
		return err
	}
	m.last = sequence
	return nil
}

func (m *memory) write(sequence uint64) error {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], sequence)
	binary.BigEndian.PutUint64(b[8:], ^sequence)
	_, err := m.acknowledged.WriteAt(b[:], 0)
	return err
}

// end notes that the store was closed in order, when all of it is on the disk, and lets the
// directory go. The server has stopped: it writes its last records without syncing them.
func (m *memory) end() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := syncAll(m.dir)
	m.state.Ended = err == nil
	return errors.Join(err, m.save(), m.acknowledged.Close(), m.lock.Close())
}

// bootID names this start of the machine, where the system has a name for it.
func bootID() string {
	text, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(text))
}
