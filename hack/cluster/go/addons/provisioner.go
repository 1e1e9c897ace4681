package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// localVolumes makes a directory on the node for each claim and a PersistentVolume of type `local` for it. The kubelet
// applies a pod's fsGroup to such volumes; the directory is open to every uid as well, for pods that set none.
type localVolumes struct{ root string }

func (l localVolumes) Provision(_ context.Context, o controller.ProvisionOptions) (*v1.PersistentVolume, controller.ProvisioningState, error) {
	if o.SelectedNodeName == "" {
		return nil, controller.ProvisioningFinished, fmt.Errorf("storage class %s must use volumeBindingMode WaitForFirstConsumer: a local volume is made on its pod's node", o.StorageClass.Name)
	}
	dir := filepath.Join(l.root, fmt.Sprintf("%s_%s_%s", o.PVName, o.PVC.Namespace, o.PVC.Name))
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	if err := os.Chmod(dir, 0o777); err != nil { // the umask took the group's and others' write bits
		return nil, controller.ProvisioningFinished, err
	}
	mode := v1.PersistentVolumeFilesystem
	return &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: o.PVName},
		Spec: v1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *o.StorageClass.ReclaimPolicy,
			AccessModes:                   o.PVC.Spec.AccessModes,
			Capacity:                      v1.ResourceList{v1.ResourceStorage: o.PVC.Spec.Resources.Requests[v1.ResourceStorage]},
			VolumeMode:                    &mode,
			PersistentVolumeSource:        v1.PersistentVolumeSource{Local: &v1.LocalVolumeSource{Path: dir}},
			NodeAffinity: &v1.VolumeNodeAffinity{Required: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{
				MatchExpressions: []v1.NodeSelectorRequirement{{
					Key: v1.LabelHostname, Operator: v1.NodeSelectorOpIn, Values: []string{o.SelectedNodeName}, // --hostname-override sets both
				}},
			}}}},
		},
	}, controller.ProvisioningFinished, nil
}

func (l localVolumes) Delete(_ context.Context, volume *v1.PersistentVolume) error {
	dir := volume.Spec.Local.Path
	if filepath.Dir(dir) != filepath.Clean(l.root) { // never remove what this provisioner did not make
		return fmt.Errorf("volume %s lies at %s, outside %s: left alone", volume.Name, dir, l.root)
	}
	return os.RemoveAll(dir)
}

func runProvisioner() {
	kubeconfig := flag.String("kubeconfig", "", "how to reach the API server")
	root := flag.String("root", "", "folder under which each volume gets a folder")
	name := flag.String("name", "speechless.dev/local", "the provisioner's name in StorageClasses")
	flag.Parse()
	logger := klog.Background()
	if *kubeconfig == "" || *root == "" {
		fmt.Fprintln(os.Stderr, "addons provisioner: --kubeconfig and --root are required")
		os.Exit(64)
	}
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		logger.Error(err, "kubeconfig")
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	controller.NewProvisionController(ctx, kubernetes.NewForConfigOrDie(config), *name, localVolumes{*root},
		controller.LeaderElection(false)).Run(ctx)
}
