/** The version of segvoc, which the build puts in. */
declare const SEGVOC_VERSION: string;
