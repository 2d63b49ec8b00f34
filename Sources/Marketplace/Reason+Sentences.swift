extension Reason {
  /// For people: what happened, the same in Indonesian, and what to do next.
  package var sentences: (english: String, indonesian: String, next: String) {
    switch self {
    case .invalidArgument:
      (
        "A field is missing or out of its range.",
        "Ada data yang kosong atau di luar batas.",
        "Correct the field and send it under a new request id."
      )
    case .unknownShop:
      ("No shop has this id.", "Toko tidak ditemukan.", "Register the shop first, or correct the id.")
    case .shopSuspended:
      (
        "The shop is suspended and takes no orders.", "Toko sedang ditangguhkan.",
        "Choose another shop, or ask the platform."
      )
    case .unknownSKU:
      (
        "The shop has no such SKU.", "Barang tidak ditemukan di toko ini.",
        "Put the SKU first, or correct the lines named."
      )
    case .amountOverflow:
      (
        "The amounts are too large to add up.", "Jumlahnya terlalu besar.",
        "Correct the prices or quantities."
      )
    case .outOfStock:
      (
        "Not enough on hand for every line; nothing was reserved.", "Stok tidak mencukupi.",
        "Order what is available of the lines named, or wait for new stock."
      )
    case .unknownOrder: ("No order has this id.", "Pesanan tidak ditemukan.", "Correct the order id.")
    case .unknownPayment:
      (
        "No payment of this order has this reference.", "Pembayaran tidak ditemukan.",
        "Correct the provider or its reference."
      )
    case .shopExists:
      ("The shop is registered already.", "Toko sudah terdaftar.", "Nothing: or choose another shop id.")
    case .referenceReused:
      (
        "The provider's reference was used for another order or amount.",
        "Nomor referensi pembayaran sudah dipakai.",
        "Check the provider's report; every payment has a reference of its own."
      )
    case .notPaid:
      ("The order is not paid in full.", "Pesanan belum lunas.", "Wait until it is settled.")
    case .alreadyShipped:
      (
        "The order has left the shop.", "Pesanan sudah dikirim.",
        "Nothing: or wait until it is delivered."
      )
    case .notShipped:
      ("The order was not shipped yet.", "Pesanan belum dikirim.", "Report its shipping first.")
    case .notDelivered:
      (
        "The order was not delivered yet.", "Pesanan belum diterima.",
        "Report its delivery first."
      )
    case .orderCancelled:
      (
        "The order was cancelled or has expired.", "Pesanan sudah dibatalkan.", "Place a new order."
      )
    case .alreadyDelivered: ("The order was delivered already.", "Pesanan sudah diterima.", "Nothing.")
    case .alreadyCompleted: ("The order is completed already.", "Pesanan sudah selesai.", "Nothing.")
    case .cancelNotAllowed:
      (
        "A buyer can't cancel an order that is paid.",
        "Pembeli tidak dapat membatalkan pesanan yang sudah dibayar.",
        "Ask the shop or the platform to cancel it."
      )
    case .stockNegative:
      (
        "Stock on hand can't become negative.", "Stok tidak boleh negatif.",
        "Take no more than is on hand."
      )
    case .requestSealed:
      (
        "Its caller gave this request up before it was executed; it never will be.",
        "Permintaan ini sudah dibatalkan oleh pengirimnya.",
        "Nothing: or send the command under a new request id."
      )
    case .unknownRequest:
      (
        "No request with this id was executed or sealed.", "Permintaan tidak ditemukan.",
        "Send the request again with the same id, or Resolve it."
      )
    }
  }
}
