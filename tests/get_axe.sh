#!/usr/bin/env sh
# Fetch a recent axe-core (MPL-2.0), with which the browser tests look for what shuts readers out; the test extra has an older one.
set -eu
version=4.14.1
cd "$(dirname "$0")"
if [ -e .axe/axe.min.js ]; then exit 0; fi
if ! command -v npm >/dev/null; then
    echo "no npm here: the browser tests take the axe-core of the test extra" >&2
    exit 0
fi
mkdir -p .axe
npm pack --silent --pack-destination .axe "axe-core@$version" >/dev/null
tar -xzf ".axe/axe-core-$version.tgz" -C .axe --strip-components=1 package/axe.min.js package/LICENSE
rm ".axe/axe-core-$version.tgz"
