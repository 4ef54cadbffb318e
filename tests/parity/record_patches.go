// Makes the results in tests/parity/patches.tsv anew with Kubernetes' own
// libraries:
//
//	go run record_patches.go <patches.tsv >new.tsv
//
// in a module that requires k8s.io/api, k8s.io/apimachinery, sigs.k8s.io/json
// and gopkg.in/evanphx/json-patch.v4.  Columns: "json", "merge" or the kind of a
// strategic merge patch; object; patch; result, or "!" and the error ("!!": the
// patch could not be read).
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	kjson "sigs.k8s.io/json"
)

var kinds = map[string]interface{}{
	"Pod": core.Pod{}, "Service": core.Service{}, "ConfigMap": core.ConfigMap{},
	"ServiceAccount": core.ServiceAccount{}, "Deployment": apps.Deployment{},
}

func decode(text string) (out map[string]interface{}, err error) {
	err = kjson.UnmarshalCaseSensitivePreserveInts([]byte(text), &out)
	return out, err
}

func strategic(kind, object, patch string) ([]byte, error) {
	o, err := decode(object)
	if err != nil {
		return nil, err
	}
	p, err := decode(patch)
	if err != nil {
		return nil, err
	}
	merged, err := strategicpatch.StrategicMergeMapPatch(o, p, kinds[kind])
	if err != nil {
		return nil, err
	}
	return json.Marshal(merged)
}

func apply(how, object, patch string) ([]byte, error) {
	switch how {
	case "json":
		p, err := jsonpatch.DecodePatch([]byte(patch))
		if err != nil {
			return nil, fmt.Errorf("!%v", err)
		}
		return p.Apply([]byte(object))
	case "merge":
		return jsonpatch.MergePatch([]byte(object), []byte(patch))
	}
	return strategic(how, object, patch)
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		c := strings.Split(in.Text(), "\t")
		out, err := apply(c[0], c[1], c[2])
		if err != nil {
			out = []byte("!" + strings.ReplaceAll(err.Error(), "\n", "\\n"))
		}
		fmt.Println(strings.Join(append(c[:3], string(out)), "\t"))
	}
}
