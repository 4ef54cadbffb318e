#!/usr/bin/env python3
"""Lists in pages of many sizes, while objects change between the pages: all pages
together are the list as it was when the first was asked for.

  pages.py KUBECONFIG

Prints a line for each check, as lib.sh does, and ends with status 1 if one failed.
Runs against any cluster; WEFT_SEED runs it again.
"""
import json
import os
import random
import sys
import time
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import raw  # noqa: E402
from raw import check  # noqa: E402

SEED = int(os.environ.get("WEFT_SEED", time.time_ns() % 1000000))
SPACES = {"pages-a": 700, "pages-b": 60}
COLOURS = "red", "green", "blue"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
PARTIAL = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


def configmap(rng, name):
    size = rng.choice((10, 10, 10, 300, 3000, 20000))
    return {"metadata": {"name": name, "labels": {"colour": rng.choice(COLOURS)}}, "data": {"x": "%0*d" % (size, rng.randrange(1000))}}


def change_something(c, rng):
    space = rng.choice(list(SPACES))
    path = "/api/v1/namespaces/%s/configmaps" % space
    name = "o%03d" % rng.randrange(SPACES[space])
    if c.ask("POST", path, configmap(rng, name))[0] == 409:
        if rng.random() < .5:
            c.ask("DELETE", path + "/" + name)
        else:
            c.ask("PUT", path + "/" + name, configmap(rng, name))


def things(answer):
    """What a list of any shape shows, comparably."""
    if answer["kind"] == "Table":
        return [(row["object"]["metadata"]["namespace"], row["object"]["metadata"]["name"], row["cells"][:2]) for row in answer["rows"]]
    return [json.dumps(item, sort_keys=True) for item in answer["items"]]


def walk(c, rng, path, query, limit, accept):
    """The pages of one list, with changes between them."""
    pages, token = [], ""
    while True:
        code, page = c.ask("GET", path + "?limit=%d%s%s" % (limit, query, "&continue=" + urllib.parse.quote(token) if token else ""), None, "Accept: " + accept)
        if code != 200:
            return pages, "%d %s" % (code, page.get("message"))
        pages.append(page)
        token = page["metadata"].get("continue", "")
        if not token:
            return pages, None
        for _ in range(rng.randrange(3)):
            change_something(c, rng)


def what_is_wrong(whole, pages, why, limit, plain):
    if why:
        return why
    if {p["metadata"]["resourceVersion"] for p in pages} != {whole["metadata"]["resourceVersion"]}:
        return "pages of other versions: " + str([p["metadata"]["resourceVersion"] for p in pages])
    sizes, expected = [len(things(p)) for p in pages], things(whole)
    if any(n != limit for n in sizes[:-1]) or sizes[-1] > limit or (len(pages) > 1 and not sizes[-1]):
        return "pages of %s" % sizes
    if [x for p in pages for x in things(p)] != expected:
        return "not what the whole list says"
    left = [p["metadata"].get("remainingItemCount", 0) for p in pages]
    rest = [len(expected) - sum(sizes[:i + 1]) for i in range(len(sizes))]
    return None if left == (rest if plain else [0] * len(pages)) else "said to remain: %s, not %s" % (left, rest)


def main():
    _, rng, c = raw.begin(__doc__, SEED, SPACES)
    for space, n in SPACES.items():
        for i in range(n):
            c.ask("POST", "/api/v1/namespaces/%s/configmaps" % space, configmap(rng, "o%03d" % i))
    time.sleep(2)  # until nobody else writes
    everywhere, a, b = "/api/v1/configmaps", "/api/v1/namespaces/pages-a/configmaps", "/api/v1/namespaces/pages-b/configmaps"
    quote = urllib.parse.quote
    red, few, named = ["&labelSelector=" + quote(x) for x in ("colour=red", "colour notin (red,green)")] + ["&fieldSelector=" + quote("metadata.name!=o007")]
    cases = [(a, "", n, "application/json") for n in (1000, 700, 699, 513, 512, 511, 100, 7)]
    cases += [(b, "", 1, "application/json"), (b, red, 2, "application/json"), (everywhere, "", 333, "application/json")]
    cases += [(a, q, n, "application/json") for q in (red, few, named) for n in (600, 64)]
    cases += [(everywhere, q, n, shape) for q in ("", red) for n in (550, 90) for shape in (TABLE, PARTIAL)]
    for path, query, limit, accept in cases:
        for _ in range(5):  # until nothing was written in between
            whole = c.ask("GET", path + "?" + query[1:], None, "Accept: " + accept)[1]
            pages, why = walk(c, rng, path, query, limit, accept)
            if pages and pages[0]["metadata"]["resourceVersion"] == whole["metadata"]["resourceVersion"]:
                break
        wrong = what_is_wrong(whole, pages, why, limit, not query)
        shape = {TABLE: ", tables", PARTIAL: ", metadata alone"}.get(accept, "")
        check("%s%s in %d pages of %d%s" % (path[8:], urllib.parse.unquote(query), len(pages), limit, shape), not wrong, wrong)
    sys.exit(raw.failed > 0)


if __name__ == "__main__":
    main()
