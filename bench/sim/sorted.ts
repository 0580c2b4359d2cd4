import sortedBtree from 'sorted-btree';

/** The package is CommonJS: its class is a property of what it exports. */
export const BTree = sortedBtree.default;

export type BTree<K, V> = InstanceType<typeof BTree<K, V>>;
