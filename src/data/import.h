/*
 * From text to a dataset: read, cut into documents, encode, choose a split, write. One pass over
 * streams, so standard input and corpora larger than memory work. All cores take part; what they
 * make is what one would make, in the order of the inputs. Memory: a few MiB for each input that is
 * being read and its longest document, and up to 64 MiB a thread for tokens that wait for those of
 * earlier inputs; compressed inputs need their window beside (xz -9: 64 MiB). The dataset appears
 * whole or not at all: it is written into a temporary folder beside the target and renamed at the
 * end.
 *
 * Inputs are plain text or JSON lines ({"text": ..., "url": ...}, one document a line, as in C4),
 * each also in gzip, xz or zstd, of one or several members; "-" is standard input. The content
 * decides: compression is recognised by its first bytes, JSON lines by an object at the start of
 * the text (or by the name: .json, .jsonl, .ndjson, each also with .gz, .xz or .zst). What is
 * neither (Parquet, UTF-16, archives, NUL bytes) is refused by name. A byte order mark is left out.
 * Of a JSON line only `text` and `url` are looked at; lone surrogates in them become U+FFFD. Lines
 * that cannot be read are skipped, but not more than 1 % of an input.
 *
 * Inputs may also be tokens that other programs made, if the format is stated: `nanogpt`, mere
 * uint16, or `llmc`, the same behind a header (data/token_file.h). They are kept as they are; a
 * document goes up to and including its end of text. The tokenizer named must be the one that made
 * them. An input whose name has the word `val` (val.bin, fineweb_val_000000.bin) goes as a whole
 * to the split val; if there is one, nothing else does, unless `val` says so.
 *
 * Documents of plain text, rule `split`:
 *	blank[:N]	cut behind a blank line after at least N bytes (default, N = 4096)
 *	entry[:N]	the same, but only before a line that is not indented (dictionaries; N = 1)
 *	line		each line is a document
 *	file		each input is a document
 *	=TEXT		cut at TEXT, which belongs to no document: =<|endoftext|>
 * A document of more than 16 MiB is cut at its last line end before. Bytes are kept as they are.
 * Documents without any byte but white space are left out.
 *
 * Held-out splits take whole groups, chosen by a hash, so that related text never falls on both
 * sides. Rule `group_by`:
 *	block[:BYTES]	plain text (default): consecutive documents of one input, until they
 *			have BYTES; the held-out blocks are spread evenly over it. Default of
 *			BYTES: 1/512 of the input, 8 KiB to 1 MiB
 *	file		the input's name without its folder
 *	url-host	JSON lines (default): the host of the url
 *	url[:DEPTH]	the url without its fragment (#part-2 of a book); or its host and so many
 *			parts of its path: a book of chapters, a repository (2 at github.com)
 *	document	the document's text, so exact copies stay together; so it is for a document
 *			without url under both rules above
 * Several rules, "*wiki*=url-host,url:3": the first whose pattern fits the document's url holds.
 *
 * Without a rule, if a split would stay empty because there are too few groups (JSON lines of one
 * site), the import takes the next finer: url-host, url, document for JSON lines, block, document
 * for text. It says so.
 */
#ifndef DATA_IMPORT_H
#define DATA_IMPORT_H

#include <signal.h>
#include <stdbool.h>

struct import_options {
	const char *const *inputs;	/* paths; "-" is standard input */
	int n_inputs;
	const char *output;		/* folder to make; its parents are made too */
	const char *tokenizer;		/* name */
	const char *format;		/* "text" (of any bytes), "jsonl", "nanogpt", "llmc"; NULL:
					   text or JSON lines, recognised as said above */
	const char *split;		/* NULL: "blank" */
	const char *group_by;		/* rules; NULL: as said above */
	double val, tune;		/* share of the groups; < 0: about 2 MiB of text, but 0.1 %
					   to 5 % (1 % where an input is a pipe); 0: none */
	bool strict;			/* a bad JSON line is an error, not skipped and counted */
	bool lenient;			/* more than 1 % of them are none either */
	bool force;			/* replace an existing dataset (nothing but a dataset) */
	long file_tokens;		/* tokens per token file; 0: 2^30 */
	long threads;			/* at most 1024; 0: one a core */
	const volatile sig_atomic_t *stop;	/* if not NULL: give up when it becomes non-zero;
						   may be set by the handler of a signal */
};

/* 0; or after a message (two, where two inputs fail at the same time) and with nothing left behind,
   -1 for wrong options or inputs and DATASET_UNWRITTEN if the dataset could not be written. Progress
   goes to stderr. */
int data_import(const struct import_options *o);

#endif
