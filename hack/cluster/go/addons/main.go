// Command addons is what the cluster needs beside Kubernetes itself: its DNS server and its volume provisioner.
// The first argument chooses which. Helm and BuildKit are built from this module's tool lines.
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: addons dns|provisioner [flags]")
		os.Exit(64)
	}
	name := os.Args[1]
	os.Args = append(os.Args[:1], os.Args[2:]...)
	switch name {
	case "dns":
		runDNS()
	case "provisioner":
		runProvisioner()
	default:
		fmt.Fprintf(os.Stderr, "addons: unknown component %q; it has dns and provisioner\n", name)
		os.Exit(64)
	}
}
