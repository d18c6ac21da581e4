/* The build of this binary, written by the Makefile: commit (with "+" if files were changed), flags. */
#ifndef TRAIN_BUILD_INFO_H
#define TRAIN_BUILD_INFO_H

extern const char build_commit[], build_flags[];

#endif
