// linear: is what clients saw of each object linearizable?
//
// usage: linear HISTORY.json
//
// The history has one operation a line (load.py's Sharer).  An object is absent, or has a
// value and a resourceVersion; a write whose answer did not come may have been done at any
// time since, or never, and what resourceVersion it gave is not known.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/anishathalye/porcupine"
)

type operation struct {
	Key, Op, Value string
	Client         int
	Rv             int64 // precondition of a put
	Begin, End     int64 // ns; End 0: no answer
	Status         int   // 0: unknown
	OutRv          int64
	OutValue       string
}

// What an object is.  rv 0: not known.
type state struct {
	there bool
	value string
	rv    int64
}

// Does `s` fit what an answer says of it?
func (s state) shows(value string, rv int64) bool {
	return s.there && s.value == value && (s.rv == 0 || s.rv == rv)
}

// The object once `o` was done to `s`; false if its answer does not fit.
func step(s state, o operation) (bool, state) {
	unknown, found := o.Status == 0, o.Status == 200 || o.Status == 201
	written := state{true, o.Value, o.OutRv}
	switch o.Op {
	case "get":
		if unknown {
			return true, s
		}
		if !found {
			return !s.there, s
		}
		return s.shows(o.OutValue, o.OutRv), state{true, o.OutValue, o.OutRv}
	case "create":
		if unknown && s.there {
			return true, s
		}
		if unknown || found {
			return !s.there, written
		}
		return s.there, s
	case "patch":
		if unknown && !s.there {
			return true, s
		}
		if unknown || found {
			return s.there && o.OutRv >= 0 && (unknown || o.OutRv > s.rv), written
		}
		return !s.there, s
	case "put":
		fits := s.there && (s.rv == 0 || s.rv == o.Rv)
		switch {
		case unknown && fits:
			return true, written
		case unknown:
			return true, s
		case found:
			return fits, written
		case o.Status == 404:
			return !s.there, s
		default: // a conflict: another resourceVersion is there
			return s.there && s.rv != o.Rv || s.there && s.rv == 0, s
		}
	case "delete":
		if unknown || found {
			return unknown || s.there, state{}
		}
		return !s.there, s
	}
	panic("operation " + o.Op)
}

func model() porcupine.Model {
	return porcupine.Model{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			byKey := map[string][]porcupine.Operation{}
			for _, o := range history {
				key := o.Input.(operation).Key
				byKey[key] = append(byKey[key], o)
			}
			out := [][]porcupine.Operation{}
			for _, part := range byKey {
				out = append(out, part)
			}
			return out
		},
		Init: func() interface{} { return state{} },
		Step: func(s, in, out interface{}) (bool, interface{}) {
			return step(s.(state), in.(operation))
		},
		DescribeOperation: func(in, out interface{}) string { return fmt.Sprintf("%+v", in) },
	}
}

func read(path string) ([]porcupine.Operation, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []operation
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var o operation
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return nil, err
		}
		if o.Status == 0 && o.Op == "get" {
			continue // a read that nobody saw
		}
		if o.End == 0 {
			o.End = math.MaxInt64
		}
		all = append(all, o)
	}
	var history []porcupine.Operation
	for _, o := range bounded(all) {
		history = append(history, porcupine.Operation{ClientId: o.Client, Input: o,
			Call: o.Begin, Return: o.End})
	}
	return history, lines.Err()
}

// A write without an answer was done, at the latest, when somebody read what it wrote:
// values are written once.  That bounds the search.
func bounded(all []operation) []operation {
	read := map[string]int64{}
	for _, o := range all {
		if at, found := read[o.OutValue]; o.Op == "get" && o.Status == 200 && (!found || o.End < at) {
			read[o.OutValue] = o.End
		}
	}
	for i, o := range all {
		if at, found := read[o.Value]; found && at < o.End && o.Op != "get" && o.Op != "delete" {
			all[i].End = at
		}
	}
	return all
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: linear HISTORY.json")
		os.Exit(2)
	}
	history, err := read(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	result, info := porcupine.CheckOperationsVerbose(model(), history, 2*time.Minute)
	fmt.Printf("linearizability: %d operations: %s\n", len(history), result)
	if result == porcupine.Illegal {
		if err := porcupine.VisualizePath(model(), info, os.Args[1]+".html"); err == nil {
			fmt.Println("drawn in", os.Args[1]+".html")
		}
		os.Exit(1)
	}
}
