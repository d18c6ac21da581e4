// Hard cases for tokenizer_check.mjs: prints JSON lines of random text to stdout.
//
//	node tests/oracle/tokenizer_texts.mjs DOCUMENTS SEED >FILE.json
//
// Each document mixes runs of characters of one kind with words and pieces of code. All characters
// were assigned before Unicode 14, so that libraries of different age agree on their classes.
const [documents, seed] = process.argv.slice(2).map(Number);

let state = BigInt(seed);
function random(n) {		// 0 .. n - 1; Knuth's MMIX generator
	state = (state * 6364136223846793005n + 1442695040888963407n) & 0xffffffffffffffffn;
	return Number((state >> 33n) % BigInt(n));
}
const pick = (list) => list[random(list.length)];

const kinds = [
	[[0x00, 0x1f]], [[0x20, 0x20]], [[0x0a, 0x0a]], [[0x09, 0x0d], [0x20, 0x20]], [[0x20, 0x7e]],
	[[0x30, 0x39]], [[0x61, 0x7a]], [[0x7f, 0xa0]], [[0x85, 0x85], [0x20, 0x20]], [[0xa0, 0x17f]],
	[[0x300, 0x36f]], [[0x61, 0x65], [0x300, 0x308]], [[0x391, 0x3a1]], [[0x400, 0x52f]],
	[[0x5d0, 0x5ea]], [[0x621, 0x669]], [[0x904, 0x94d], [0x966, 0x96f]], [[0xe01, 0xe3a]],
	[[0x1680, 0x1680], [0x180e, 0x180e]], [[0x2000, 0x200f]], [[0x2010, 0x205f]],
	[[0x2160, 0x2188]], [[0x2460, 0x249b]], [[0x3000, 0x3002]], [[0x3041, 0x3096]],
	[[0x4e00, 0x9fa5]], [[0xac00, 0xd7a3]], [[0xe000, 0xe100]], [[0xfe00, 0xfe0f], [0xfeff, 0xfeff]],
	[[0xff10, 0xff5a]], [[0xfffd, 0xfffd]], [[0x1d400, 0x1d454]], [[0x1d7ce, 0x1d7ff]],
	[[0x1f1e6, 0x1f1ff]], [[0x1f300, 0x1f64f], [0x200d, 0x200d], [0x1f3fb, 0x1f3ff]],
	[[0x20000, 0x2a6d6]], [[0xe0020, 0xe007f]],
];
const phrases = [" the", "The", "it's", "I'LL", "we'll", " 'd", "''re", "don't", "\r\n", "\n\n    ",
	"<|endoftext|>", "for (int i = 0; i < n; i++)\n\t\t", "https://example.org/a?b=1&c=%20",
	"3.14159", " 1,000,000", "--------", "        return self.__init__()\n", "e\u0301", "\t\t\t",
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "ÃÂÃÂÃÂÃÂ", " Straße", "naïve", "   "];

function run() {
	const ranges = pick(kinds);
	const n = 1 + (random(20) ? random(8) : random(400));
	let text = "";
	for (let i = 0; i < n; i++) {
		const [low, high] = pick(ranges);
		text += String.fromCodePoint(low + random(high - low + 1));
	}
	return text;
}

for (let d = 0; d < documents; d++) {
	let text = "";
	for (let i = random(60); i >= 0; i--)
		text += random(2) ? run() : pick(phrases);
	console.log(JSON.stringify({ text }));
}
