// A second opinion on audit logs: verifies a log's directory with golang.org/x/mod/sumdb (tlog and note), which shares
// no code with Bailiwick. The formats are those of c2sp.org (tlog-tiles, tlog-checkpoint, tlog-cosignature).
//
//	tlog-check DIR LOG-VKEY [WITNESS-VKEY...]
//
// Prints what it found; exit code 1 and a sentence when something is not true.
package main

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func check(err error, what string) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
		os.Exit(1)
	}
}

func demand(ok bool, format string, args ...interface{}) {
	if !ok {
		check(fmt.Errorf(format, args...), "not true")
	}
}

// A witness, by c2sp.org/tlog-cosignature: sumdb/note knows only plain signatures.
type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (c cosigner) Name() string    { return c.name }
func (c cosigner) KeyHash() uint32 { return c.hash }
func (c cosigner) Verify(text, signature []byte) bool {
	if len(signature) != 8+ed25519.SignatureSize {
		return false
	}
	message := fmt.Sprintf("cosignature/v1\ntime %d\n%s", binary.BigEndian.Uint64(signature[:8]), text)
	return ed25519.Verify(c.key, []byte(message), signature[8:])
}

func newCosigner(vkey string) cosigner {
	parts := strings.SplitN(vkey, "+", 3)
	demand(len(parts) == 3, "verifier key %s", vkey)
	raw, err := base64.StdEncoding.DecodeString(parts[2])
	check(err, vkey)
	demand(len(raw) == 1+ed25519.PublicKeySize && raw[0] == 4, "not a cosigner: %s", vkey)
	sum := sha256.Sum256([]byte(parts[0] + "\n" + string(raw)))
	hash := binary.BigEndian.Uint32(sum[:4])
	demand(fmt.Sprintf("%08x", hash) == parts[1], "key hash of %s", vkey)
	return cosigner{parts[0], hash, raw[1:]}
}

func open(path string, verifiers ...note.Verifier) (*note.Note, tlog.Tree) {
	bytes, err := os.ReadFile(path)
	check(err, path)
	opened, err := note.Open(bytes, note.VerifierList(verifiers...))
	check(err, path)
	lines := strings.Split(opened.Text, "\n")
	demand(len(lines) == 4 && lines[0] == verifiers[0].Name(), "%s: origin and lines", path)
	size, err := strconv.ParseInt(lines[1], 10, 64)
	check(err, path)
	root, err := tlog.ParseHash(lines[2])
	check(err, path)
	return opened, tlog.Tree{N: size, Hash: root}
}

// The files of c2sp.org/tlog-tiles: sumdb's tiles of height 8, without the height in their names.
type tiles struct{ dir string }

func (t tiles) Height() int                                { return 8 }
func (t tiles) SaveTiles(tiles []tlog.Tile, data [][]byte) {}
func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var out [][]byte
	read := func(tile tlog.Tile) ([]byte, error) {
		return os.ReadFile(filepath.Join(t.dir, strings.Replace(tile.Path(), "tile/8/", "tile/", 1)))
	}
	for _, tile := range wanted {
		data, err := read(tile)
		if os.IsNotExist(err) && tile.W < 256 { // the full one has taken its place
			width := tile.W
			tile.W = 256
			if data, err = read(tile); len(data) == 256*tlog.HashSize {
				data = data[:width*tlog.HashSize]
			}
		}
		if err != nil {
			return nil, err
		}
		out = append(out, data)
	}
	return out, nil
}

func entries(dir string, size int64) [][]byte {
	var out [][]byte
	for n := int64(0); n*256 < size; n++ {
		tile := tlog.Tile{H: 8, L: 0, N: n, W: 256}
		if size-n*256 < 256 {
			tile.W = int(size - n*256)
		}
		path := filepath.Join(dir, strings.Replace(tile.Path(), "tile/8/0/", "tile/entries/", 1))
		data, err := os.ReadFile(path)
		check(err, path)
		for i := 0; i < tile.W; i++ {
			demand(len(data) >= 2, "%s is too short", path)
			length := int(binary.BigEndian.Uint16(data))
			demand(len(data) >= 2+length, "%s is too short", path)
			out = append(out, data[2:2+length])
			data = data[2+length:]
		}
		demand(len(data) == 0, "%s is too long", path)
	}
	return out
}

// Records are what their entries commit to.
func records(dir string, entries [][]byte) int {
	count := 0
	for first := 0; first < len(entries); first += 4096 {
		path := filepath.Join(dir, "payload", strings.TrimPrefix(tlog.Tile{H: 8, L: 0, N: int64(first / 4096), W: 256}.Path(), "tile/8/0/"))
		file, err := os.Open(path)
		check(err, path)
		scanner := bufio.NewScanner(file)
		scanner.Buffer(nil, 1<<20)
		for i := first; i < len(entries) && i < first+4096; i++ {
			demand(scanner.Scan(), "record %d is missing", i)
			line := scanner.Bytes()
			var record struct {
				Seq                  int
				At, Kind, Salt, Hash string
			}
			check(json.Unmarshal(line, &record), "a record")
			demand(record.Seq == i, "record %d stands in the place of %d", record.Seq, i)
			salt, err := hex.DecodeString(record.Salt)
			check(err, "a salt")
			body := line[:bytes.LastIndex(line, []byte(`,"salt":"`))]
			hash := sha256.Sum256([]byte("bailiwick-audit-v2\x00" + string(salt) + string(body)))
			entry := fmt.Sprintf("bailiwick-audit/2 %s %s %x", record.At, record.Kind, hash)
			demand(entry == string(entries[i]) && record.Hash == fmt.Sprintf("%x", hash), "record %d is not what its entry commits to", i)
			count++
		}
		file.Close()
	}
	return count
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: tlog-check DIR LOG-VKEY [WITNESS-VKEY...]")
		os.Exit(2)
	}
	dir := os.Args[1]
	log, err := note.NewVerifier(os.Args[2])
	check(err, os.Args[2])
	_, tree := open(filepath.Join(dir, "checkpoint"), log)

	// From the entries: the root.
	all := entries(dir, tree.N)
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var out []tlog.Hash
		for _, i := range indexes {
			out = append(out, stored[i])
		}
		return out, nil
	})
	for i, entry := range all {
		hashes, err := tlog.StoredHashes(int64(i), entry, reader)
		check(err, "hashing")
		stored = append(stored, hashes...)
	}
	root, err := tlog.TreeHash(tree.N, reader)
	check(err, "the root")
	demand(root == tree.Hash, "the entries do not make the root that was signed")

	// From the tiles, which are checked against the root as they are read: a proof of every record.
	authenticated := tlog.TileHashReader(tree, tiles{dir})
	for i := range all {
		if len(all) > 2000 && i%97 != 0 {
			continue
		}
		proof, err := tlog.ProveRecord(tree.N, int64(i), authenticated)
		check(err, "tiles")
		check(tlog.CheckRecord(proof, tree.N, tree.Hash, int64(i), tlog.RecordHash(all[i])), "a proof")
	}
	checked := records(dir, all)

	witnessed := 0
	if len(os.Args) > 3 {
		verifiers := []note.Verifier{log}
		for _, vkey := range os.Args[3:] {
			verifiers = append(verifiers, newCosigner(vkey))
		}
		opened, older := open(filepath.Join(dir, "witnessed"), verifiers...)
		witnessed = len(opened.Sigs) - 1
		// From the tiles of its own size, as somebody reads them who was shown nothing else.
		root, err := tlog.TreeHash(older.N, tlog.TileHashReader(older, tiles{dir}))
		check(err, "tiles of what was witnessed")
		demand(root == older.Hash, "the tiles do not make the root that was witnessed")
		if older.N < tree.N {
			proof, err := tlog.ProveTree(tree.N, older.N, authenticated)
			check(err, "consistency")
			check(tlog.CheckTree(proof, tree.N, tree.Hash, older.N, older.Hash), "consistency")
		} else {
			demand(older == tree, "what the witnesses signed is another log")
		}
	}
	fmt.Printf("true: %d entries, %d records, %d cosignatures\n", tree.N, checked, witnessed)
}
