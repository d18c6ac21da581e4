// Compares a dataset's tokens with an independent implementation of the GPT-2 tokenizer.
//
//	npm install --prefix /tmp/oracle gpt-tokenizer@4.0.0 js-tiktoken@1.0.21
//	./moelab data import FILE --tokenizer gpt2 --val 0 --tune 0 -o DIR
//	node tests/oracle/tokenizer_check.mjs /tmp/oracle DIR FILE
//
// FILE holds JSON lines {"text": ...}. All documents that are not mere white space (which an import
// leaves out) are compared, token for token. Both packages split by JavaScript's \s, which has U+FEFF
// and lacks U+0085 against Unicode's White_Space: js-tiktoken takes a pattern and is given ours;
// gpt-tokenizer does not, so documents with these are left out there and counted.
import { createReadStream, readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";

const [modules, dataset, file] = process.argv.slice(2);
const require = createRequire(join(modules, "package.json"));
const { Tiktoken } = require("js-tiktoken/lite");
const ranks = require("js-tiktoken/ranks/r50k_base");
const gptTokenizer = require("gpt-tokenizer/encoding/r50k_base");
const space = "\\t-\\r\\x85\\p{Z}";
const pattern = `'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^${space}\\p{L}\\p{N}]+` +
	`|[${space}]+(?![^${space}])|[${space}]+`;
const tiktoken = new Tiktoken({ ...ranks, pat_str: pattern });
const allText = { allowedSpecial: new Set(), disallowedSpecial: new Set() };
const endOfText = 50256;

function* tokens() {
	for (const name of readdirSync(dataset).filter((n) => /^train_.*\.bin$/.test(n)).sort()) {
		const bytes = readFileSync(join(dataset, name));
		const n = bytes.readInt32LE(8);
		for (let i = 0; i < n; i++)
			yield bytes.readUInt16LE(1024 + 2 * i);
	}
}

function fail(line, who, at, ours, theirs) {
	console.error(`line ${line}: token ${at} differs from ${who}: ours ` +
		`${ours.slice(at, at + 8)}, theirs ${theirs.slice(at, at + 8)}`);
	process.exit(1);
}

function compare(line, who, ours, theirs) {
	const n = Math.max(ours.length, theirs.length);
	for (let i = 0; i < n; i++)
		if (ours[i] !== theirs[i])
			fail(line, who, i, ours, theirs);
}

const stream = tokens();
let line = 0, documents = 0, bytes = 0, count = 0, leftOut = 0;
for await (const json of createInterface({ input: createReadStream(file), crlfDelay: Infinity })) {
	line++;
	const text = JSON.parse(json).text;
	if (!/[^\t-\r ]/.test(text))
		continue;
	const ours = [];
	for (let t = stream.next(); !t.done && t.value !== endOfText; t = stream.next())
		ours.push(t.value);
	compare(line, "js-tiktoken", ours, tiktoken.encode(text, [], []));
	if (/[\u0085\ufeff]/.test(text))
		leftOut++;
	else
		compare(line, "gpt-tokenizer", ours, gptTokenizer.encode(text, allText));
	documents++;
	bytes += Buffer.byteLength(text);
	count += ours.length;
}
if (!stream.next().done) {
	console.error("the dataset has more documents than the file");
	process.exit(1);
}
console.log(`equal: ${documents} documents, ${bytes} bytes, ${count} tokens` +
	(leftOut ? ` (${leftOut} documents compared with js-tiktoken alone)` : ""));
