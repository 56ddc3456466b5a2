/*
 * Which understudy this is: the release, and the build (`git describe`) when the Makefile knows it.
 */
#ifndef APPLIANCE_VERSION_H
#define APPLIANCE_VERSION_H

#define UNDERSTUDY_RELEASE "0.1.0"

#if !defined(UNDERSTUDY_VERSION) && __has_include("build/version.h")
#include "build/version.h"
#endif
#ifndef UNDERSTUDY_VERSION
#define UNDERSTUDY_VERSION UNDERSTUDY_RELEASE
#endif

#endif
