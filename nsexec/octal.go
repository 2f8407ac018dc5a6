package nsexec

import "strconv"

func octal(n uint32) string { return strconv.FormatUint(uint64(n), 8) }
